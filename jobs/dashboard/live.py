"""Live pages: one reader of the event table per process reports changes to every open page.

The page gets `{"type": "changed", "jobs": [ids], "workers": [ids]}` and fetches its content again;
`{"type": "seen", ...}` only updates the age of an observation; `{"type": "ping"}` shows that the connection
works.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import iscoroutinefunction, sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db.models import Max
from django.http import HttpRequest
from django.urls import path
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware

from jobs.models import Job, JobEvent, Worker

log = logging.getLogger("offload.feed")

POLL_SECONDS = 0.3
SEEN_SECONDS = 3.0
PING_SECONDS = 15.0
BACKOFF_SECONDS = 5.0
# PostgreSQL commits ids out of order: some ids are read again, and those already reported are left out.
OVERLAP = 64
BATCH = 500

Message = dict[str, Any]


def _newest() -> int:
    return JobEvent.objects.aggregate(newest=Max("id"))["newest"] or 0


@sync_and_async_middleware
def note_newest_event(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Note the newest event before a page is read, as `request.newest_event`.

    The page names it when it opens its connection, and hears of what came between.
    """
    if not iscoroutinefunction(get_response):

        def noting(request: HttpRequest) -> Any:
            if _is_page(request):
                request.newest_event = _newest()  # type: ignore[attr-defined]
            return get_response(request)

        return noting

    async def anoting(request: HttpRequest) -> Any:
        if _is_page(request):
            request.newest_event = await sync_to_async(_newest)()  # type: ignore[attr-defined]
        return await get_response(request)

    return anoting


def _is_page(request: HttpRequest) -> bool:
    return request.method == "GET" and "HX-Request" not in request.headers


class Tail:
    """Reads the event table while a page is open, and reports changes to all open pages."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Message]] = set()
        self._task: asyncio.Task[None] | None = None
        self._told: deque[int] = deque(maxlen=4 * OVERLAP)
        self._last = 0

    async def listen(self) -> asyncio.Queue[Message]:
        """Return a queue that gets every change from now on."""
        queue: asyncio.Queue[Message] = asyncio.Queue()
        if not self._listeners:
            self._last = await sync_to_async(_newest)()
            recent = JobEvent.objects.order_by("-id").values_list("id", flat=True)[:OVERLAP]
            self._told.extend([number async for number in recent])
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="feed")
        return queue

    def leave(self, queue: asyncio.Queue[Message]) -> None:
        """Stop reporting to this queue; the reading ends with the last one."""
        self._listeners.discard(queue)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    def _tell(self, message: Message) -> None:
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
        new = []
        async for number, job, worker in rows.values_list("id", "job_id", "worker_id")[:BATCH]:
            if number not in told:
                self._told.append(number)
                self._last = max(self._last, number)
                new.append((job, worker))
        if message := _changed(new):
            self._tell(message)

    async def _observations(self, since: Any) -> Any:
        """Report which jobs and workers were observed; an observation has no event."""
        newest = timezone.now() - timedelta(seconds=1)
        jobs = Job.objects.filter(observed_at__gt=since).values_list("id", "observed_at")
        workers = Worker.objects.filter(observed_at__gt=since).values_list("id", "observed_at")
        message: Message = {
            "type": "seen",
            "jobs": {str(key): at.isoformat() async for key, at in jobs if at},
            "workers": {str(key): at.isoformat() async for key, at in workers if at},
        }
        if message["jobs"] or message["workers"]:
            self._tell(message)
        return newest


def _changed(rows: Sequence[tuple[int | None, int | None]]) -> Message | None:
    """Return the message about events, each given by its job and its worker; None when there is no news."""
    jobs = sorted({job for job, _ in rows if job is not None})
    workers = sorted({worker for _, worker in rows if worker is not None})
    return {"type": "changed", "jobs": jobs, "workers": workers} if jobs or workers else None


async def _changes_since(event: int) -> Message | None:
    """Return what changed after an event; past `BATCH` events, the newest of them."""
    rows = JobEvent.objects.filter(id__gt=event).order_by("-id").values_list("job_id", "worker_id")
    return _changed([row async for row in rows[:BATCH]])


TAIL = Tail()


class FeedConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One open page. Sends only; login and Origin are checked before it is reached."""

    _sender: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Accept, and start reporting changes; at first those since the event that the page names."""
        await self.accept()
        queue = await TAIL.listen()
        since = parse_qs(self.scope["query_string"]).get(b"since", [b""])[0]
        if since.isdigit() and len(since) < 19 and (missed := await _changes_since(int(since))):
            queue.put_nowait(missed)
        self._sender = asyncio.create_task(self._send(queue), name="feed page")

    async def _send(self, queue: asyncio.Queue[Message]) -> None:
        try:
            await self.send(text_data=json.dumps({"type": "hello"}))
            while True:
                await self.send(text_data=json.dumps(await queue.get()))
        finally:
            TAIL.leave(queue)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Ignore messages of the page: it only listens."""

    async def disconnect(self, code: int) -> None:
        """Stop reporting."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])


websocket_urlpatterns = [path("ws/feed/", FeedConsumer.as_asgi())]
