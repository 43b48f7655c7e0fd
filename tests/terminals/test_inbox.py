"""The queue of what one browser has typed and pasted."""

from __future__ import annotations

import asyncio

from terminals.chores import Chores
from terminals.inbox import MAX_QUEUE, Inbox


class _Stuck:
    """A terminal that takes one piece and never has room again."""

    def __init__(self) -> None:
        self.taken = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.taken.set()

    async def drain(self) -> None:
        await asyncio.Event().wait()


async def test_a_paste_that_is_cut_off_leaves_the_whole_queue_to_the_next_terminal() -> None:
    chores = Chores(lambda error: None)
    inbox, pty = Inbox(chores.start, lambda text: None), _Stuck()
    inbox.take(b"p" * MAX_QUEUE, pty)  # type: ignore[arg-type]
    await pty.taken.wait()
    inbox.stop()
    await chores.cancel()

    inbox.take(b"q" * MAX_QUEUE, None)
