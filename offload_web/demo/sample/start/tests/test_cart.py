from tinycart import Cart


def cart_of(*prices, discount=0):
    cart = Cart(discount=discount)
    for number, price in enumerate(prices):
        cart.add(f"article {number}", price)
    return cart


def test_an_empty_cart_costs_only_shipping():
    assert cart_of().total() == 495


def test_goods_are_added_up():
    assert cart_of(1000, 250).total() == 1250 + 495


def test_fifty_ships_free():
    assert cart_of(2500, 2500).total() == 5000


def test_a_discount_does_not_cost_the_free_shipping():
    assert cart_of(5200, discount=10).total() == 4680
