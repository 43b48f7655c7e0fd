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
        """Return what the goods cost before any discount."""
        return sum(line.price * line.quantity for line in self.lines)

    def total(self):
        """Return what the customer pays. Shipping goes by the worth of the goods, discount or not."""
        goods = self.goods()
        return percent_off(goods, self.discount) + shipping_cost(goods)
