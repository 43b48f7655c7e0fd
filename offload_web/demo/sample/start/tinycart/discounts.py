"""Discounts on an amount of cents."""


def percent_off(amount, percent):
    """Return `amount` less `percent` of it."""
    return int(amount - amount * percent / 100)
