"""The WebSocket's end: who may come in, and for how long. Frames go to the bridge, unread beyond parsing.

A plain ASGI application rather than a Channels consumer: a consumer makes two tasks per message and finds a
method by name, which is half of the cost of a keystroke.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model

from jobs import workers
from terminals import frames
from terminals.bridge import Bridge
from terminals.frames import Close, FrameError
from terminals.live import Entry, Registry, registry

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

audit = logging.getLogger("offload.audit")
DRIVE_PERMISSION = "jobs.change_job"
WATCH_PERMISSION = "jobs.view_job"


class TerminalApp:
    """One terminal per connection: `.../<job_id>/<kind>/?cols=&rows=&mode=&tab=`."""

    def __init__(self, terminals: Registry) -> None:
        self._terminals = terminals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from handshake to end."""
        if (await receive())["type"] != "websocket.connect":
            return
        # A handshake that is refused tells a page nothing: accept, say why, close.
        await send({"type": "websocket.accept"})
        job_id, kind = int(scope["url_route"]["kwargs"]["job_id"]), scope["url_route"]["kwargs"]["kind"]
        who = _actor(scope)
        try:
            opening = frames.parse_opening(scope.get("query_string", b""))
            await authorize(scope, job_id, opening.mode)
            socket = (scope.get("extensions") or {}).get("offload.socket")
            bridge = Bridge(
                job_id=job_id,
                kind=kind,
                actor=who,
                opening=opening,
                send=send,
                direct=socket.send if socket else None,
            )
            entry = self._terminals.add(
                bridge,
                cap=int(settings.OFFLOAD.max_terminals),
                login=getattr(scope.get("session"), "session_key", "") or "",
                allowed=lambda: still_allowed(scope),
                ending=lambda: workers.ending(job_id),
            )
        except FrameError as error:
            audit.warning("Refused a terminal of job %s to %s: %s", job_id, who, error.reason)
            code = error.close.name.lower()
            await send({"type": "websocket.send", "text": frames.error(error.close, code, error.reason)})
            await send({"type": "websocket.close", "code": int(error.close)})
            return
        audit.info("%s attached to job %s (%s, %s)", who, job_id, kind, opening.mode)
        pump = asyncio.create_task(bridge.pump())
        bridge.start(self._begin(entry))
        try:
            if socket:
                socket.listen(lambda message: _take(bridge, message, who))
            await _listen(bridge, receive, who)
        finally:
            if socket:
                socket.unlisten()  # the bridge takes nothing more from here on
            # Channels does not call `disconnect` when a handler raises; this runs in every case.
            await asyncio.shield(asyncio.ensure_future(self._end(entry, pump, who)))

    async def _begin(self, entry: Entry) -> None:
        bridge = entry.bridge
        for older in self._terminals.older(bridge):
            await older.aclose()
        await bridge.attach()
        await self._note_attached(bridge)
        bridge.ping()
        await self._terminals.tell_ending(entry)

    async def _end(self, entry: Entry, pump: asyncio.Task[None], who: str) -> None:
        bridge = entry.bridge
        pump.cancel()
        try:
            await asyncio.gather(pump, return_exceptions=True)
            await bridge.aclose()
        finally:
            self._terminals.remove(entry)
        audit.info("%s detached from job %s (%s)", who, bridge.job_id, bridge.kind)
        # A browser that left at once, before it was written down, has been here all the same.
        await self._note_attached(bridge)
        await self._note(bridge, "detached")

    async def _note_attached(self, bridge: Bridge) -> None:
        # Once. A viewer that leaves meanwhile waits for it: "detached" is never recorded before "attached".
        if bridge.noting is None:
            bridge.noting = asyncio.ensure_future(self._note(bridge, "attached"))
        await asyncio.shield(bridge.noting)

    async def _note(self, bridge: Bridge, what: str) -> None:
        try:
            await workers.note_terminal(
                bridge.job_id, what, bridge.actor, kind=bridge.kind, role=str(bridge.role)
            )
        except Exception:
            # The terminal goes on: a row that could not be written is in the log instead.
            audit.exception("Recording that %s %s failed", bridge.actor, what)


async def _listen(bridge: Bridge, receive: Receive, who: str) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        _take(bridge, data if data is not None else message["text"], who)


def _take(bridge: Bridge, message: bytes | str, who: str) -> None:
    try:
        if isinstance(message, bytes):
            bridge.input(message)
        else:
            bridge.handle(frames.parse_control(message))
    except FrameError as error:
        audit.warning("Closed a terminal of job %s of %s: %s", bridge.job_id, who, error.reason)
        bridge.close(error.close, error.close.name.lower(), error.reason)
    except Exception as error:
        bridge.failed(error)


def _actor(scope: Scope) -> str:
    user = scope.get("user")
    return user.get_username() if user is not None and user.is_authenticated else "anonymous"


async def authorize(scope: Scope, job_id: int, mode: str) -> None:
    """Let this login attach to this job in this mode, or raise `FrameError`. Asked at each attach."""
    user = scope.get("user")
    if user is None or not user.is_authenticated:
        raise FrameError(Close.NOT_LOGGED_IN, "You are not logged in here.")
    needed = WATCH_PERMISSION if mode == "watch" else DRIVE_PERMISSION
    if not (user.is_active and await user.ahas_perm(needed)):
        raise FrameError(Close.NOT_ALLOWED, f"{user.get_username()} may not open job {job_id} to {mode}.")


async def still_allowed(scope: Scope) -> bool:
    """Whether the login behind an open terminal is still there and still counts."""
    session, user = scope.get("session"), scope.get("user")
    if session is not None and session.session_key and not await session.aexists(session.session_key):
        return False
    users = get_user_model()._default_manager
    return user is None or await users.filter(pk=user.pk, is_active=True).aexists()


application = TerminalApp(registry)
