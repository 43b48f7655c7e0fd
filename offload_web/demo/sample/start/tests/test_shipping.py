from tinycart import shipping_cost


def test_small_orders_pay_the_flat_rate():
    assert shipping_cost(4999) == 495


def test_large_orders_ship_free():
    assert shipping_cost(5000) == 0
