"""Run the reconciler's duties: each finds work, and the loop does it in tasks of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jobs.errors import OffloadError

log = logging.getLogger("offload.reconcile")

TICK_SECONDS = 1.0
BACKOFF_SECONDS = (1, 2, 5, 10, 30)


@dataclass(frozen=True)
class Work:
    """Something to do about one object. `key` names the object.

    While work on a key runs, no other work on it starts; work of another `version` cancels it first.
    """

    key: Hashable
    run: Callable[[], Coroutine[Any, Any, None]]
    version: Hashable = None


class Duty:
    """Finds one kind of work at each tick."""

    name: ClassVar[str]
    # Seconds from the end of work on an object until its next, and the longest back-off after a failure.
    pause: ClassVar[float] = 0.0
    longest_backoff: ClassVar[float] = BACKOFF_SECONDS[-1]

    def find(self) -> AsyncIterator[Work]:
        """Return the work that there is now; work that is under way may be among it."""
        raise NotImplementedError


class Reconciler:
    """Carries out requests and drives every job of every worker until told to stop."""

    def __init__(self, duties: Sequence[Duty], *, tick: float = TICK_SECONDS) -> None:
        self.tick = tick
        self._duties = {duty.name: duty for duty in duties}
        self._tasks: dict[tuple[str, Hashable], asyncio.Task[None]] = {}
        self._versions: dict[tuple[str, Hashable], Hashable] = {}
        self._retry_at: dict[tuple[str, Hashable], float] = {}
        self._failures: dict[tuple[str, Hashable], int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. The next reconciler continues what was under way."""
        try:
            while not stop.is_set():
                try:
                    await self.once()
                except Exception:
                    # Everything depends on this loop: it reports the error and continues.
                    log.exception("A reconcile tick failed; the next one follows.")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self.tick)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def once(self) -> None:
        """Find the work of every duty and start it. Returns without waiting for it."""
        self._collect()
        for duty in self._duties.values():
            async for work in duty.find():
                self._start(duty, work)

    def _start(self, duty: Duty, work: Work) -> None:
        name = (duty.name, work.key)
        if self._versions.get(name, work.version) != work.version:
            self._retry_at.pop(name, None)
            if name in self._tasks:
                self._tasks[name].cancel()
                return
        if name in self._tasks or asyncio.get_running_loop().time() < self._retry_at.get(name, 0):
            return
        self._versions[name] = work.version
        self._tasks[name] = asyncio.create_task(work.run(), name=f"{duty.name} {work.key}")

    def _collect(self) -> None:
        """Forget the tasks that ended; note when work that failed is tried again."""
        now = asyncio.get_running_loop().time()
        for name, task in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[name]
            duty = self._duties[name[0]]
            error = None if task.cancelled() else task.exception()
            if error is None:
                self._failures.pop(name, None)
                self._retry_at[name] = now + duty.pause
                continue
            count = self._failures.get(name, 0)
            self._failures[name] = count + 1
            pause = min(BACKOFF_SECONDS[min(count, len(BACKOFF_SECONDS) - 1)], duty.longest_backoff)
            self._retry_at[name] = now + pause
            expected = isinstance(error, OffloadError)
            log.log(
                logging.WARNING if expected else logging.ERROR,
                "%s %s failed, next try in %s s: %s",
                *name,
                pause,
                error,
                exc_info=None if expected else error,
            )
