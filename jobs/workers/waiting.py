"""The one way to wait for a machine: it ends in success or in a timeout that says what was seen last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from jobs.errors import OffloadError, TimedOut

T = TypeVar("T")
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0


class Seen(Generic[T]):
    """One look: `value` is None while what is waited for has not come; `text` says what is there instead.

    `error`: it will never come.
    """

    def __init__(self, value: T | None, text: str = "", error: OffloadError | None = None) -> None:
        self.value = value
        self.text = text
        self.error = error


async def wait_until(
    what: str,
    look: Callable[[], Awaitable[Seen[T]]],
    *,
    deadline: float,
    pause: float = 0.0,
    step: Callable[[str], None] = lambda text: None,
    hint: str = "",
) -> T:
    """Look again and again until there is a value, and return it.

    `what` completes "Waiting for ...". A look that raises a retryable error counts as "not yet"; any other
    error ends the wait. Pauses grow from `pause` (0: half a second) to five seconds. `step` hears each new
    `text`. Raises
    `TimedOut` after `deadline` seconds, with what was seen last; a look under way is cut off then.
    """
    loop = asyncio.get_running_loop()
    pause = pause or FIRST_PAUSE
    end = loop.time() + deadline
    seen = "nothing was seen"
    said = ""
    try:
        async with asyncio.timeout_at(end):
            while True:
                try:
                    found = await look()
                except OffloadError as error:
                    if not error.retryable:
                        raise
                    found = Seen(None, error.message)
                if found.error is not None:
                    raise found.error
                if found.value is not None:
                    return found.value
                seen = found.text or seen
                if seen != said:
                    said = seen
                    step(seen)
                await asyncio.sleep(min(pause, max(0.0, end - loop.time())))
                pause = min(pause * 1.5, LONGEST_PAUSE)
    except TimeoutError:
        raise TimedOut(
            f"Waiting for {what} ended after {deadline:g} s: {seen}.",
            hint=hint or "The same command goes on from here.",
        ) from None
