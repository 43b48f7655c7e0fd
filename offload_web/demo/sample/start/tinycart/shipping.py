"""What sending an order costs."""

FREE_FROM = 5000
FLAT_RATE = 495


def shipping_cost(goods):
    """Return the shipping for goods worth `goods` cents."""
    return 0 if goods >= FREE_FROM else FLAT_RATE
