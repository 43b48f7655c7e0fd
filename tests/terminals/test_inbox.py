"""The queue of what one browser has typed and pasted."""

from __future__ import annotations

import asyncio

from terminals.inbox import KEYS, MAX_QUEUE, Inbox


class _Stuck:
    """A terminal that takes one piece and never has room again."""

    def __init__(self) -> None:
        self.taken = asyncio.Event()
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.taken.set()

    async def drain(self) -> None:
        await asyncio.Event().wait()


async def test_a_paste_that_is_cut_off_leaves_the_whole_queue_to_the_next_terminal() -> None:
    inbox, pty = Inbox(asyncio.create_task, lambda text: None), _Stuck()
    inbox.take(b"p" * MAX_QUEUE, pty)  # type: ignore[arg-type]
    await pty.taken.wait()
    inbox.stop()

    inbox.take(b"q" * MAX_QUEUE, None)


async def test_the_end_of_one_writer_leaves_the_next_one_alone() -> None:
    inbox, before, after = Inbox(asyncio.create_task, lambda text: None), _Stuck(), _Stuck()
    inbox.take(b"p" * (KEYS + 1), before)  # type: ignore[arg-type]
    await before.taken.wait()
    inbox.stop()
    inbox.take(b"q" * (KEYS + 1), after)  # type: ignore[arg-type]
    await after.taken.wait()

    inbox.take(b"key", after)  # type: ignore[arg-type]
    assert after.written == [b"q" * (KEYS + 1)]  # the key waits behind the paste
    inbox.stop()
