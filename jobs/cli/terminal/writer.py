"""Write to the user's terminal without waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

# The queue grows past HIGH_WATER only while the terminal is slower than the session; reading then pauses, and
# tmux drops frames instead of queueing them. Reading resumes at LOW_WATER.
HIGH_WATER = 128 * 1024
LOW_WATER = 32 * 1024
FLUSH_SECONDS = 2.0


class TtyOutput:
    """The writing side of a terminal: a short queue that asks its producer to pause.

    `pause` is called when the queue is long, `resume` when it is short again, and `gone` when the terminal no
    longer exists. It writes through an open file description of its own, because making the shared one
    non-blocking would also change the user's shell.
    """

    def __init__(
        self, fd: int, *, pause: Callable[[], None], resume: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pause, self._resume, self._gone = pause, resume, gone
        self._queue = bytearray()
        self._paused = False
        self._lost = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._fd = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)

    def write(self, data: bytes) -> None:
        """Queue bytes, in order."""
        if self._lost:
            return
        waiting = bool(self._queue)
        self._queue += data
        if not waiting:
            self._flush()
            if self._queue:
                self._empty.clear()
                self._loop.add_writer(self._fd, self._flush)
        if len(self._queue) > HIGH_WATER and not self._paused:
            self._paused = True
            self._pause()

    def _flush(self) -> None:
        try:
            while self._queue:
                sent = os.write(self._fd, memoryview(self._queue)[:65536].tobytes())
                del self._queue[:sent]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._lost = True
            self._queue.clear()
        if not self._queue:
            self._loop.remove_writer(self._fd)
            self._empty.set()
        if self._lost:
            self._gone()
        elif self._paused and len(self._queue) <= LOW_WATER:
            self._paused = False
            self._resume()

    async def aclose(self) -> None:
        """Write the rest of the queue for at most two seconds (a stopped terminal reads nothing); close."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._empty.wait()
        finally:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
