"""The stream of events, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from jobs.api.access import Caller, caller_of, needs
from jobs.api.answers import Id
from jobs.api.errors import TooManyStreams
from jobs.errors import UsageError
from jobs.models import JobEvent
from jobs.operations import (
    TAIL,
    FeedMessage,
    count_events,
    is_valid_token,
    read_events,
    read_events_by_id,
)
from jobs.serializers import event_json
from jobs.states import Scope

router = Router(tags=["events"])
MOST_STREAMS = 100
MOST_MISSED = 5_000
STREAM_SECONDS = 600.0
PAGE = 500
OPEN: set[EventStream] = set()


class StreamQuery(Schema):
    """Where the stream begins."""

    since: Id | None = Field(None, description="The last event that is known; without it, only new ones.")


@router.get(
    "",
    auth=needs(Scope.READ),
    response={200: None},
    openapi_extra={"responses": {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}},
    summary="Follow events",
)
async def follow(request: HttpRequest, query: Query[StreamQuery]) -> StreamingHttpResponse:
    """Send every event as it happens; `data` is the event as JSON, `id` its id.

    A reconnecting browser names the last one in `Last-Event-ID`. The stream ends after ten minutes.
    """
    last = request.headers.get("Last-Event-ID", "")
    since = int(last) if last.isascii() and last.isdecimal() and len(last) < 13 else query.since
    if since is not None and (missed := await count_events(since)) > MOST_MISSED:
        raise UsageError(
            f"{missed} events came after {since}; a stream sends at most {MOST_MISSED} old ones.",
            hint="Leave `since` out, and read what is missing by /jobs and /jobs/N/events.",
        )
    if len(OPEN) >= MOST_STREAMS:
        raise TooManyStreams(
            f"{MOST_STREAMS} streams of events are open.", hint="Close one, or try again later."
        )
    return StreamingHttpResponse(
        EventStream(caller_of(request), since),
        content_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},  # a proxy before the dashboard passes each event on at once
    )


class EventStream:
    """The parts of a stream, as Django sends them; `close` ends it, also when it was not read to its end."""

    def __init__(self, caller: Caller, since: int | None) -> None:
        self._caller = caller
        self._since = since
        self._queue: asyncio.Queue[FeedMessage] | None = None
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Stop listening. Django calls this in a thread, after the answer or when the client has left."""
        self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        if self._queue is not None:
            TAIL.leave(self._queue)
        OPEN.discard(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield old events, then new ones until the stream is long enough or the token has ended."""
        OPEN.add(self)
        self._queue = queue = await TAIL.listen()
        yield b"retry: 1000\n\n"
        sent: deque[int] = deque(maxlen=4 * PAGE)
        while self._since is not None and (page := await read_events(after=self._since, limit=PAGE)):
            sent.extend(event.id for event in page)
            self._since = page[-1].id
            yield _lines(page)
        end = time.monotonic() + STREAM_SECONDS
        while time.monotonic() < end:
            message = await queue.get()  # a ping comes each few seconds
            if message["type"] == "changed":
                if new := set(message["events"]).difference(sent):
                    yield _lines(await read_events_by_id(new))
            elif message["type"] == "ping":
                token = self._caller.token
                if token is not None and not await is_valid_token(token):
                    return
                yield b": ping\n\n"


def _lines(events: Sequence[JobEvent]) -> bytes:
    # JSON has no line break, so that what a job wrote cannot begin a field of its own.
    return "".join(f"id: {event.id}\ndata: {json.dumps(event_json(event))}\n\n" for event in events).encode()
