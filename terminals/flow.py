"""How much may be under way to a browser. Pure arithmetic: the bridge asks, then pauses or resumes.

The browser acknowledges bytes that its terminal has *drawn*, cumulatively. More than `high` bytes that are
not yet drawn pause the terminal, fewer than `low` resume it. With a terminal that draws 10 MB/s, 256 KiB are
26 ms of output: what Ctrl-C has to wait for.
"""

from __future__ import annotations

KIB = 1024
HIGH = 256 * KIB
MAX_HIGH = 1024 * KIB
FREE_ROUND_TRIP = 0.030
"""Seconds of round trip that `HIGH` bytes cover; beyond it the window grows in proportion."""


class FlowWindow:
    """Counts what was sent and what was drawn."""

    __slots__ = ("_round_trips", "drawn", "high", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.drawn = 0
        self.high = HIGH
        self._round_trips: tuple[float, ...] = ()

    @property
    def low(self) -> int:
        """Return the mark below which the terminal may write again."""
        return self.high // 2

    @property
    def backlog(self) -> int:
        """Return how many bytes are under way: not yet drawn."""
        return self.sent - self.drawn

    @property
    def full(self) -> bool:
        """Whether the terminal must pause."""
        return self.backlog > self.high

    @property
    def open(self) -> bool:
        """Whether a paused terminal may go on."""
        return self.backlog <= self.low

    def add(self, size: int) -> None:
        """Count bytes on their way to the browser (negative: bytes that will never be sent)."""
        self.sent += size

    def acknowledge(self, count: int) -> bool:
        """Note that the browser has drawn `count` bytes in all. Returns False when that cannot be true."""
        if count > self.sent:
            return False
        self.drawn = max(self.drawn, count)
        return True

    def measured(self, seconds: float) -> None:
        """Let the window follow the round trip, so that far browsers get full speed.

        The shortest of the last few counts: a round trip that is long because our own output is queued
        before it must not enlarge that queue.
        """
        self._round_trips = (*self._round_trips[-7:], seconds)
        shortest = min(self._round_trips)
        self.high = min(MAX_HIGH, max(HIGH, int(HIGH * shortest / FREE_ROUND_TRIP)))

    @property
    def round_trip(self) -> float | None:
        """Return the shortest of the last measured round trips, in seconds."""
        return min(self._round_trips) if self._round_trips else None
