"""Prices, discounts and shipping. Amounts are whole cents."""

from tinycart.cart import Cart, Line
from tinycart.discounts import percent_off
from tinycart.shipping import shipping_cost

__all__ = ["Cart", "Line", "percent_off", "shipping_cost"]
