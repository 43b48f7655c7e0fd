"""What clients read over HTTP: bounds of answers, files that an API redirects to, and rate limits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx

from jobs.errors import ForgeLimited, ForgeUnreachable
from jobs.forges.pulls import MOST_LOG, Api, Limit

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_BYTES = 32 * 1024 * 1024
MOST_STREAMED = 64 * 1024 * 1024


class Limits:
    """What each token has left, for every client of this process."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Limit] = {}

    def get(self, api: Api) -> Limit | None:
        """Return what the last answer said; None when it said nothing, or the hour is over."""
        limit = self._known.get((api.rest, api.token))
        return limit if limit is not None and limit.resets_at > time.time() else None

    def stop(self, api: Api, seconds: str | None) -> ForgeLimited:
        """Stop requests for as long as the forge said (`Retry-After`), a minute without that; its error."""
        after = int(seconds) if seconds and seconds.isdecimal() else 60
        known = self.get(api)
        self._known[api.rest, api.token] = Limit(known.limit if known else 0, 0, time.time() + after)
        return limited(api.host, time.time() + after)

    def note(self, api: Api, headers: Mapping[str, str], prefix: str) -> None:
        """Keep what an answer says in its headers `PREFIX-limit`, `-remaining` and `-reset`."""
        try:
            self._known[api.rest, api.token] = Limit(
                int(headers[f"{prefix}-limit"]),
                int(headers[f"{prefix}-remaining"]),
                float(headers[f"{prefix}-reset"]),
            )
        except (KeyError, ValueError):
            pass  # servers of one's own can have no limit


def limited(host: str, resets_at: float) -> ForgeLimited:
    """Return the error of a used-up limit."""
    at = datetime.fromtimestamp(resets_at, UTC).strftime("%H:%M:%S UTC")
    return ForgeLimited(
        f"{host} accepts no further request until {at}: its rate limit is used up.",
        hint="Lists show what is known until then. With a token the limit is higher (docs/forges.md).",
    )


async def read_body(response: httpx.Response) -> bytes:
    """Return an answer of at most `MOST_BYTES`. Raises `ForgeUnreachable` for a longer one."""
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MOST_BYTES:
            raise ForgeUnreachable(f"{response.url.host} answered with more than {MOST_BYTES} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


async def get_file(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], api: str
) -> tuple[int, str, bool]:
    """Return status, end and whether the beginning is missing, of a file that an API serves or redirects to.

    Another server gets neither the token nor a cookie. Raises `ForgeUnreachable` for one without https.
    """
    async with client.stream("GET", url, headers=dict(headers)) as response:
        if not response.has_redirect_location:
            return response.status_code, *await _read_tail(response)
        target = str(response.url.join(response.headers["location"]))
    is_here = {urlsplit(target).hostname, urlsplit(api).hostname} <= set(LOOPBACK)
    if urlsplit(target).scheme != "https" and not is_here:
        raise ForgeUnreachable(f"{urlsplit(api).netloc} named a file that is not at https.")
    async with client.stream("GET", target, headers={"user-agent": "offload"}) as response:
        if response.has_redirect_location:
            return HTTPStatus.NOT_FOUND, "", False
        return response.status_code, *await _read_tail(response)


async def _read_tail(response: httpx.Response) -> tuple[str, bool]:
    """Return the last `MOST_LOG` bytes as text, and whether that is not all of it.

    Of a longer answer than `MOST_STREAMED` the end is not read.
    """
    kept: deque[bytes] = deque()
    size = total = 0
    async for chunk in response.aiter_bytes():
        kept.append(chunk)
        size, total = size + len(chunk), total + len(chunk)
        while kept and size - len(kept[0]) >= MOST_LOG:
            size -= len(kept.popleft())
        if total > MOST_STREAMED:
            break
    return b"".join(kept)[-MOST_LOG:].decode("utf-8", "replace"), total > MOST_LOG
