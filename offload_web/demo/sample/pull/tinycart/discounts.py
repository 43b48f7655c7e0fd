"""Discounts on an amount of cents."""


def percent_off(amount, percent):
    """Return `amount` less `percent` of it, half a cent rounded in the customer's favour."""
    off, rest = divmod(amount * percent, 100)
    return amount - off - (rest >= 50)
