"""Asking again when the answer was "later" or lost: one loop for every service of Google's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from jobs.errors import OffloadError

ATTEMPTS = 4
FIRST_PAUSE = 0.2  # seconds; doubled each time
Answer = TypeVar("Answer")


async def patiently(once: Callable[[], tuple[bool, Answer | OffloadError]]) -> Answer:
    """Return what `once` answers, which is called in a thread, up to four times.

    It returns whether asking again is worth it, and the answer or the error; the last error is raised.
    """
    pause = FIRST_PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        again, found = await asyncio.to_thread(once)
        if not isinstance(found, OffloadError):
            return found
        if not again or attempt == ATTEMPTS:
            raise found
        await asyncio.sleep(pause)
        pause *= 2
    raise AssertionError("the last attempt returns or raises")
