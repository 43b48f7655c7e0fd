"""The path that every address of a dashboard starts with, so that its cookie reaches no other server.

Browsers send a cookie of 127.0.0.1 to every port there, and any process may listen on one. They send it only
below the cookie's path, though: the path is unguessable, kept in `OFFLOAD_HOME`, and never told to a request
that does not name it. See docs/adr/0014-a-path-of-its-own-for-the-dashboard.md.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from jobs.errors import NotConfigured
from offload_web import secret_key

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[Any]]

PUBLIC = "/static/"
_PATH = re.compile(r"/[A-Za-z0-9_-]{22,}")
_TEXT = (
    b"Every address of this dashboard starts with a path of its own, which this address lacks.\n"
    b"`offload serve --link` prints a login link.\n"
)


def load_path(home: Path) -> str:
    """Return the dashboard's path, `/` and 22 characters, making it at first use. Raises `NotConfigured`."""
    path = secret_key.load_or_make(home, "path", lambda: f"/{secrets.token_urlsafe(16)}")
    if not _PATH.fullmatch(path):
        raise NotConfigured(
            f"{home / 'path'} does not hold the dashboard's path.", hint="Delete the file; a new one is made."
        )
    return path


class OnlyBelow:
    """ASGI middleware: serve addresses below one path, and the public static files; refuse all others."""

    def __init__(self, application: AsgiApplication, path: str) -> None:
        self.application = application
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Pass a request on with its path as the script's name, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            return await self.application(scope, receive, send)
        # Daphne takes this from a header that anybody can send.
        scope["root_path"] = ""
        if scope["path"].startswith(f"{self.path}/"):
            scope["root_path"] = self.path
            return await self.application(scope, receive, send)
        if scope["type"] == "http" and scope["path"].startswith(PUBLIC):
            return await self.application(scope, receive, send)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4404})
            return None
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-security-policy", b"default-src 'none'"),
            (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"),
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": _TEXT})
        return None
