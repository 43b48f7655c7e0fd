"""What one browser has typed and pasted, on its way to the terminal.

Keys are written at once. Large pastes queue up, wait for the far side, and are acknowledged to the browser
(`taken`), which sends no more than it was told to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from jobs.errors import ConnectionLost
from jobs.workers import Pty
from terminals import frames
from terminals.frames import Close, FrameError

KEYS = 4096
"""Bytes of input up to which it counts as typing: written at once when nothing waits before it."""
MAX_QUEUE = 1024 * 1024
"""Bytes of input that may wait; the page keeps to a quarter of it."""


class Inbox:
    """Input of one WebSocket. `start` runs a task for as long as the terminal is open; `say` answers."""

    __slots__ = ("_queue", "_say", "_size", "_start", "_taken", "_writer", "wrote_at")

    def __init__(
        self, start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]], say: Callable[[str], None]
    ) -> None:
        self._start = start
        self._say = say
        self._queue: list[bytes] = []
        self._size = 0
        self._taken = 0
        self._writer: asyncio.Task[None] | None = None
        self.wrote_at = float("-inf")  # on the clock of the event loop

    def take(self, data: bytes, pty: Pty | None) -> None:
        """Write input to the terminal, or queue it. Raises `FrameError` when too much waits."""
        if pty is not None and not self._queue and self._writer is None and len(data) <= KEYS:
            self._put(pty, data)
            self._taken += len(data)
            return
        if self._size + len(data) > MAX_QUEUE:
            raise FrameError(Close.OVERSIZE, "More input was sent than the terminal takes.")
        self._queue.append(data)
        self._size += len(data)
        self.deliver(pty)

    def _put(self, pty: Pty, data: bytes) -> None:
        pty.write(data)
        self.wrote_at = asyncio.get_running_loop().time()

    def deliver(self, pty: Pty | None) -> None:
        """Begin to write what waits, if there is a terminal to write to."""
        if self._queue and self._writer is None and pty is not None:
            self._writer = self._start(self._write(pty))

    async def _write(self, pty: Pty) -> None:
        try:
            while self._queue:
                data = self._queue.pop(0)
                self._size -= len(data)  # now: who cancels the wait below must not leave it counted for good
                self._put(pty, data)
                await pty.drain()
                self._taken += len(data)
                self._say(frames.control("taken", n=self._taken))
        except ConnectionLost:
            self.drop()  # the end of the terminal tells the rest
        finally:
            if self._writer is asyncio.current_task():  # else a newer one writes to the next terminal
                self._writer = None

    def drop(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        self._size = 0

    def stop(self) -> None:
        """Stop writing to the terminal of now; what waits is for the next one."""
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None
