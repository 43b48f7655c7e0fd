"""Live pages: changes in the event table reach every open page (`jobs.operations.feed`).

The page gets `{"type": "changed", "jobs": [ids], "workers": [ids]}` and fetches its content again;
`{"type": "seen", ...}` only updates the age of an observation; `{"type": "ping"}` shows that the connection
works.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import iscoroutinefunction, sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.http import HttpRequest
from django.urls import path
from django.utils.decorators import sync_and_async_middleware

from jobs.operations import TAIL, FeedMessage, changes_since, newest_event_id


@sync_and_async_middleware
def note_newest_event(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Note the newest event before a page is read, as `request.newest_event`.

    The page names it when it opens its connection, and hears of what came between.
    """
    if not iscoroutinefunction(get_response):

        def noting(request: HttpRequest) -> Any:
            if _is_page(request):
                request.newest_event = newest_event_id()  # type: ignore[attr-defined]
            return get_response(request)

        return noting

    async def anoting(request: HttpRequest) -> Any:
        if _is_page(request):
            request.newest_event = await sync_to_async(newest_event_id)()  # type: ignore[attr-defined]
        return await get_response(request)

    return anoting


def _is_page(request: HttpRequest) -> bool:
    return request.method == "GET" and "HX-Request" not in request.headers


class FeedConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One open page. Sends only; login and Origin are checked before it is reached."""

    _sender: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Accept, and start reporting changes; at first those since the event that the page names."""
        await self.accept()
        queue = await TAIL.listen()
        since = parse_qs(self.scope["query_string"]).get(b"since", [b""])[0]
        if since.isdigit() and len(since) < 19 and (missed := await changes_since(int(since))):
            queue.put_nowait(missed)
        self._sender = asyncio.create_task(self._send(queue), name="feed page")

    async def _send(self, queue: asyncio.Queue[FeedMessage]) -> None:
        try:
            await self.send(text_data=json.dumps({"type": "hello"}))
            while True:
                message = await queue.get()
                # A page fetches its content again and needs no single events.
                told = {key: value for key, value in message.items() if key != "events"}
                if message["type"] != "changed" or message["jobs"] or message["workers"]:
                    await self.send(text_data=json.dumps(told))
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
