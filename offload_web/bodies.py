"""Refuses a request's body by its size, origin and login before any of it is read.

Daphne hands a request to Django when its whole body has arrived, and keeps large ones in temporary files: a
stranger could fill the disk. What can be known from the headers is therefore checked when they have arrived.
"""

from __future__ import annotations

import logging
from http.cookies import CookieError, SimpleCookie
from typing import Any

from daphne import http_protocol
from django.conf import settings

from offload_web import login
from offload_web.security import host_allowed, refusal_body, same_origin

log = logging.getLogger("offload.security")

LARGEST = 256 * 1024 * 1024
"""Bytes of the largest body: an upload to a job's worktree."""
SMALL = 64 * 1024
"""Bytes that are read for a session that this process has not seen yet, or for a token of the API: they are
checked afterwards."""


def refuse_body(
    length: int | None, headers: dict[str, str], *, secure: bool = False
) -> tuple[int, str] | None:
    """Return the status and the reason to refuse a body with, or None. `length`: None when not declared."""
    if length == 0:
        return None
    host, origin = headers.get("host", ""), headers.get("origin")
    if not host_allowed(host):
        return 400, "This address is not one of Offload's."
    if origin is not None and not same_origin(origin, host, "https" if secure else "http"):
        return 403, "The request came from another site."
    if origin is None and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return 403, "The request came from another site."
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        cookie = None
    with_token = headers.get("authorization", "").lower().startswith("bearer ")
    if cookie is None and not with_token:
        return 403, "Log in first."
    if length is None:
        return 411, "The length of the body is missing."
    if cookie is None and length > SMALL:
        return 413, f"The body is larger than {SMALL // 1024} KiB."
    if length > LARGEST:
        return 413, f"The body is larger than {LARGEST // 1024**2} MiB."
    if cookie is not None and length > SMALL and not login.is_remembered(cookie.value):
        return 403, "Log in first, or load the page again."
    return None


class GuardedRequest(http_protocol.WebRequest):  # type: ignore[misc]  # Daphne has no types
    """Daphne's request, which drops a body that is refused and closes the connection."""

    refused = False

    def gotLength(self, length: int | None) -> None:  # Twisted's name
        """Check the headers, which have all arrived."""
        raw = self.requestHeaders.getAllRawHeaders()
        headers = {name.decode("latin-1").lower(): values[-1].decode("latin-1") for name, values in raw}
        refusal = refuse_body(length, headers, secure=self.isSecure())
        super().gotLength(0 if refusal else length)
        if refusal is None:
            return
        status, reason = refusal
        self.refused = True
        log.warning("Refused a body of %s bytes: %s", length, reason)
        # Twisted gives the request its address when the body has arrived.
        path = self.channel._path.decode("latin-1").removeprefix(settings.DASHBOARD_PATH)
        kind, body = refusal_body(path, reason)
        head = (
            f"HTTP/1.1 {status} Refused\r\nContent-Type: {kind}\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        self.channel.transport.write(f"{head}{body}".encode())
        self.channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:  # Twisted's name
        """Keep a part of the body unless it is refused."""
        if not self.refused:
            super().handleContentChunk(data)

    def process(self) -> Any:
        """Hand the request on unless its body was refused."""
        return None if self.refused else super().process()


def install() -> None:
    """Let every Daphne server of this process check bodies."""
    http_protocol.WebRequest = GuardedRequest
