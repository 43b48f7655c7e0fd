"""How an operation reports what it is doing: it calls a function with one sentence per step."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]


def silent(text: str) -> None:
    """Ignore a step."""
