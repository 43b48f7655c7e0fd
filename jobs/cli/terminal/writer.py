"""Writing to the user's terminal without ever waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

# Hysteresis: between these two the session goes on as it was. More than the first is waiting only while
# the terminal is slower than the session; tmux then drops frames instead of queueing them.
HIGH_WATER = 128 * 1024
LOW_WATER = 32 * 1024
FLUSH_SECONDS = 2.0


class TtyOutput:
    """The writing side of a terminal: a short queue, and a word to whoever fills it.

    `pause` and `resume` are called when the queue has grown long and when it is short again; `gone` when
    nobody reads the terminal any more. Writing happens through a description of our own: making the
    shared one non-blocking would reach the user's shell, which has the same one.
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
        """Write what is queued, for at most two seconds (a stopped terminal takes nothing), and let go."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._empty.wait()
        finally:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
