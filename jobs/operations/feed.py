"""One reader of the event table per process, which reports changes to every open page and stream.

A listener gets `{"type": "changed", "jobs": [ids], "workers": [ids], "events": [ids]}`, `{"type": "seen",
"jobs": {id: time}, "workers": {id: time}}` about observations, which have no event, and `{"type": "ping"}`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Max
from django.utils import timezone

from jobs.models import Job, JobEvent, Worker

log = logging.getLogger("offload.feed")

POLL_SECONDS = 0.3
SEEN_SECONDS = 3.0
PING_SECONDS = 15.0
BACKOFF_SECONDS = 5.0
# PostgreSQL commits ids out of order: some ids are read again, and those already reported are left out.
OVERLAP = 64
BATCH = 500

FeedMessage = dict[str, Any]
Row = tuple[int, int | None, int | None]


def newest_event_id() -> int:
    """Return the id of the newest event; 0 when there is none."""
    return JobEvent.objects.aggregate(newest=Max("id"))["newest"] or 0


class Tail:
    """Reads the event table while a page is open, and reports changes to all open pages."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[FeedMessage]] = set()
        self._task: asyncio.Task[None] | None = None
        self._told: deque[int] = deque(maxlen=4 * OVERLAP)
        self._last = 0

    async def listen(self) -> asyncio.Queue[FeedMessage]:
        """Return a queue that gets every change from now on."""
        queue: asyncio.Queue[FeedMessage] = asyncio.Queue()
        if not self._listeners:
            self._last = await sync_to_async(newest_event_id)()
            recent = JobEvent.objects.order_by("-id").values_list("id", flat=True)[:OVERLAP]
            self._told.extend([number async for number in recent])
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="feed")
        return queue

    def leave(self, queue: asyncio.Queue[FeedMessage]) -> None:
        """Stop reporting to this queue; the reading ends with the last one."""
        self._listeners.discard(queue)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    def _tell(self, message: FeedMessage) -> None:
        for queue in self._listeners:
            queue.put_nowait(message)

    async def _run(self) -> None:
        seen_at, pinged_at = 0.0, time.monotonic()
        since = timezone.now()
        while True:
            try:
                await self._changes()
                now = time.monotonic()
                if now - seen_at >= SEEN_SECONDS:
                    since, seen_at = await self._observations(since), now
                if now - pinged_at >= PING_SECONDS:
                    self._tell({"type": "ping"})
                    pinged_at = now
                await asyncio.sleep(POLL_SECONDS)
            except Exception:
                log.exception("Reading the event table failed; the next try is in %s s.", BACKOFF_SECONDS)
                await asyncio.sleep(BACKOFF_SECONDS)

    async def _changes(self) -> None:
        rows = JobEvent.objects.filter(id__gt=self._last - OVERLAP).order_by("id")
        told = set(self._told)
        new: list[Row] = []
        async for number, job, worker in rows.values_list("id", "job_id", "worker_id")[:BATCH]:
            if number not in told:
                self._told.append(number)
                self._last = max(self._last, number)
                new.append((number, job, worker))
        if message := changed(new):
            self._tell(message)

    async def _observations(self, since: Any) -> Any:
        """Report which jobs and workers were observed; an observation has no event."""
        newest = timezone.now() - timedelta(seconds=1)
        jobs = Job.objects.filter(observed_at__gt=since).values_list("id", "observed_at")
        workers = Worker.objects.filter(observed_at__gt=since).values_list("id", "observed_at")
        message: FeedMessage = {
            "type": "seen",
            "jobs": {str(key): at.isoformat() async for key, at in jobs if at},
            "workers": {str(key): at.isoformat() async for key, at in workers if at},
        }
        if message["jobs"] or message["workers"]:
            self._tell(message)
        return newest


def changed(rows: Sequence[Row]) -> FeedMessage | None:
    """Return the message about events, each given by its id, job and worker; None when there is no news."""
    jobs = sorted({job for _, job, _ in rows if job is not None})
    workers = sorted({worker for _, _, worker in rows if worker is not None})
    events = sorted(number for number, _, _ in rows)
    return {"type": "changed", "jobs": jobs, "workers": workers, "events": events} if events else None


async def changes_since(event: int) -> FeedMessage | None:
    """Return what changed after an event; past `BATCH` events, the newest of them."""
    rows = JobEvent.objects.filter(id__gt=event).order_by("-id").values_list("id", "job_id", "worker_id")
    return changed([row async for row in rows[:BATCH]])


TAIL = Tail()
