"""A shopping cart."""

from dataclasses import dataclass, field

from tinycart.discounts import percent_off
from tinycart.shipping import shipping_cost


@dataclass(frozen=True)
class Line:
    """One article in a cart."""

    name: str
    price: int
    quantity: int = 1


@dataclass
class Cart:
    """Lines, and a discount in percent on all of them."""

    lines: list = field(default_factory=list)
    discount: int = 0

    def add(self, name, price, quantity=1):
        self.lines.append(Line(name, price, quantity))

    def goods(self):
        """Return what the goods cost after the discount."""
        return percent_off(sum(line.price * line.quantity for line in self.lines), self.discount)

    def total(self):
        """Return what the customer pays."""
        goods = self.goods()
        return goods + shipping_cost(goods)
