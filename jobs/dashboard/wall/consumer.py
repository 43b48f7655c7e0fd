"""The WebSocket of an open wall: it says which tiles are visible, and gets their pictures.

A picture is text from a job: it is sent as runs of text and class names, which the page makes text nodes of.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.urls import path

from jobs.dashboard.logs.ansi import line_runs
from jobs.operations import SCREENS, LineState, Picture, ScreenPage
from jobs.serializers import utc

WATCH_PERMISSION = "jobs.view_job"  # as for a terminal that is only watched
NOT_ALLOWED = 4403
UNREADABLE = 4400
MOST_LINES = 120
CHECK_SECONDS = 15.0
_LONGEST_REQUEST = 16 * 1024


def picture_json(picture: Picture) -> dict[str, Any]:
    """Return a picture as the page gets it: `lines` of runs, each a text and its classes."""
    lines = line_runs(picture.text)[-MOST_LINES:]
    return {
        "type": "picture", "job": picture.job_id, "columns": picture.columns, "rows": picture.rows,
        "dead": picture.dead, "gone": picture.gone, "lines": lines,
    }  # fmt: skip


def _news_json(news: Picture | LineState) -> dict[str, Any]:
    if isinstance(news, Picture):
        return picture_json(news)
    return {"type": "line", "job": news.job_id, "error": news.error, "seen": utc(news.seen)}


def _read_ids(text: str | None) -> list[int]:
    """Return the jobs that the page shows. Raises `ValueError`."""
    if text is None or len(text) > _LONGEST_REQUEST:
        raise ValueError("no text, or too long a one")
    try:
        ids = json.loads(text)["show"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(ids, list) or not all(type(number) is int and 0 < number < 2**62 for number in ids):
        raise ValueError("not a list of jobs")
    return ids


class WallConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One open wall. Login and Origin are checked before it is reached; it checks the permission."""

    _page: ScreenPage | None = None
    _tasks: tuple[asyncio.Task[None], ...] = ()

    async def connect(self) -> None:
        """Accept who may watch terminals; tell others why not."""
        await self.accept()
        if not await self._may_watch():
            await self.close(NOT_ALLOWED)
            return
        self._page = SCREENS.open()
        self._tasks = (
            asyncio.create_task(self._send(self._page), name="wall pictures"),
            asyncio.create_task(self._check(), name="wall permission"),
        )

    async def _may_watch(self) -> bool:
        user = self.scope.get("user")
        session = self.scope.get("session")
        if session is not None and session.session_key and not await session.aexists(session.session_key):
            return False
        # Read again: a permission that was taken away is cached in the user of the handshake.
        found = await get_user_model()._default_manager.filter(pk=user.pk, is_active=True).afirst()
        return found is not None and await found.ahas_perm(WATCH_PERMISSION)

    async def _send(self, page: ScreenPage) -> None:
        while True:
            for news in await page.news():
                await self.send(text_data=json.dumps(_news_json(news)))

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if not await self._may_watch():
                await self.close(NOT_ALLOWED)
                return

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Show the jobs that the page names."""
        if self._page is None:
            return
        try:
            ids = _read_ids(text_data)
        except ValueError:
            await self.close(UNREADABLE)
            return
        await self._page.show(ids)

    async def disconnect(self, code: int) -> None:
        """Look at nothing for this page any more."""
        for task in self._tasks:
            task.cancel()
        if self._page is not None:
            await self._page.aclose()


websocket_urlpatterns = [path("ws/wall/", WallConsumer.as_asgi())]
