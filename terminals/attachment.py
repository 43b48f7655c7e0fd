"""One attached terminal as the bridge sees it, and what its viewer is shown first."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Protocol

from jobs.workers import Pty, SessionInfo, Size
from terminals import frames

# tmux waits five seconds for answers to what it asks a terminal at first; the way to it takes its time.
ANSWER_SECONDS = 4.0


class Role(StrEnum):
    """What a viewer may do: type and size, type only, look only."""

    DRIVE = "drive"
    FOLLOW = "follow"
    WATCH = "watch"


class Owner(Protocol):
    """Who gets what the terminal says."""

    def output(self, data: bytes) -> None:
        """Take bytes."""

    def terminal_ended(self, exit_status: int | None, error: Exception | None) -> None:
        """Take note of the end."""


class Attachment:
    """The receiver of one attached terminal; deaf once another one took its place."""

    __slots__ = ("_answered", "_owner", "_spoke_at", "pty")

    def __init__(self, owner: Owner) -> None:
        self._owner: Owner | None = owner
        self._answered: set[bytes] = set()
        self._spoke_at = 0.0
        self.pty: Pty | None = None

    def expects(self, data: bytes) -> bool:
        """Tell whether tmux takes this input for what it is; a second or late answer it would type."""
        answers = frames.identities(data)
        if not answers:
            return True
        is_late = asyncio.get_running_loop().time() - self._spoke_at > ANSWER_SECONDS
        is_known = not self._answered.isdisjoint(answers)
        self._answered |= answers
        return not is_late and not is_known

    def data_received(self, data: bytes) -> None:
        """See `PtyReceiver.data_received`."""
        if not self._spoke_at:
            self._spoke_at = asyncio.get_running_loop().time()
        if self._owner is not None:
            self._owner.output(data)

    def closed(self, exit_status: int | None, error: Exception | None) -> None:
        """See `PtyReceiver.closed`."""
        if self._owner is not None:
            self._owner.terminal_ended(exit_status, error)

    def retire(self) -> None:
        """Hear nothing more."""
        self._owner = None

    async def aclose(self, after: float = 0.0) -> None:
        """Close the terminal, `after` seconds from now (at once when cancelled)."""
        try:
            await asyncio.sleep(after)
        finally:
            if self.pty is not None:
                await self.pty.aclose()


def choose_role(requested: Role, info: SessionInfo | None) -> Role:
    """Return the role a viewer gets: the first drives, unless it only watches; others follow it."""
    if requested is Role.WATCH:
        return requested
    return Role.DRIVE if leading_size(info) is None else Role.FOLLOW


def leading_size(info: SessionInfo | None) -> Size | None:
    """Return the size of the client that decides the session's size, if there is one."""
    drivers = [v for v in info.viewers if not v.ignores_size and not v.read_only] if info else []
    return max(drivers, key=lambda viewer: viewer.active_at).size if drivers else None


def shown_size(info: SessionInfo | None) -> Size | None:
    """Return the size at which a viewer that does not drive shows the session.

    Of the client that decides; without one, of the session as it was left, plus tmux's status line.
    """
    if info is None:
        return None
    return leading_size(info) or Size(info.size.columns, info.size.rows + 1)


def as_scrollback(history: bytes, rows: int) -> bytes:
    """Return captured lines so that a fresh terminal of `rows` rows ends up with all of them scrolled off.

    What follows is tmux's own drawing of the screen, which clears it first.
    """
    lines = history.removesuffix(b"\n").split(b"\n")
    return b"".join([b"\r\n".join(lines), b"\x1b[0m", b"\r\n" * rows])
