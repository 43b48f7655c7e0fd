"""Bounds for what clients read over HTTP."""

from __future__ import annotations

from collections import deque

import httpx

from jobs.forges.pulls import MOST_LOG

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_STREAMED = 64 * 1024 * 1024


async def read_tail(response: httpx.Response) -> tuple[str, bool]:
    """Return the last `MOST_LOG` bytes of an answer as text, and whether that is not all of it.

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
