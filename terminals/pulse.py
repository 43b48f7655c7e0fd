"""Whether the browser is still there: pings, their answers, and the silence after which we give up.

The server pings, because the timers of a hidden page sleep; often enough for proxies, which close a socket
that is idle for a minute.
"""

from __future__ import annotations

from collections.abc import Callable

PING_EVERY = 20.0
DEAD_AFTER = 45.0
_MOST_PINGS = 8


class Pulse:
    """`clock` gives seconds that never go back."""

    __slots__ = ("_clock", "_heard_at", "_id", "_pinged", "_pinged_at")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard_at = self._pinged_at = clock()
        self._pinged: dict[int, float] = {}
        self._id = 0

    def heard(self) -> None:
        """Note that something came from the browser."""
        self._heard_at = self._clock()

    @property
    def dead(self) -> bool:
        """Whether the browser has been silent for too long."""
        return self._clock() - self._heard_at > DEAD_AFTER

    @property
    def due(self) -> bool:
        """Whether it is time for a ping."""
        return self._clock() - self._pinged_at >= PING_EVERY

    def ping(self) -> int:
        """Note that a ping is sent; return its number."""
        self._id += 1
        self._pinged_at = self._clock()
        if len(self._pinged) >= _MOST_PINGS:
            self._pinged.clear()
        self._pinged[self._id] = self._pinged_at
        return self._id

    def pong(self, number: int) -> float | None:
        """Return the seconds between ping and answer; None when there was no such ping."""
        sent = self._pinged.pop(number, None)
        return None if sent is None else self._clock() - sent
