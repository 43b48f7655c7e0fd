"""What is on its way to one browser: terminal bytes in order, control frames, and the window over them.

The terminal's bytes are queued as they come and sent in frames of at most 64 KiB, each made of whatever
arrived while the loop was busy. There is no timer: the first byte leaves at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from terminals.flow import FlowWindow

FRAME = 64 * 1024
KEYS = 1024
"""Bytes of output up to which it counts as the echo of a key."""
PAUSE = 0.001
"""Seconds of silence before an echo; what comes sooner is a flood, and gathered into large frames."""

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Outbox:
    """The queue of one WebSocket. `flow` counts the bytes that were put in, and those that were drawn."""

    __slots__ = ("_closing", "_direct", "_last", "_loop", "_queue", "_send", "_urgent", "_wake", "flow")

    def __init__(self, send: Send, direct: Callable[[bytes], bool] | None = None) -> None:
        self.flow = FlowWindow()
        self._direct = direct
        self._last = 0.0  # when terminal bytes were put in
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes | str] = deque()
        self._urgent: list[str] = []
        self._wake: asyncio.Future[None] | None = None
        self._closing: int | None = None

    def put(self, item: bytes | str) -> None:
        """Queue terminal bytes, or a control frame that belongs between them."""
        if isinstance(item, bytes):
            self.flow.add(len(item))
            now, before = self._loop.time(), self._last
            self._last = now
            if now - before >= PAUSE and len(item) <= KEYS and self._sent_directly(item):
                return
        self._queue.append(item)
        self._rouse()

    def _sent_directly(self, data: bytes) -> bool:
        """Send what a key brings without waking the pump, if nothing is before it."""
        is_idle = self._wake is not None and not self._wake.done()
        return is_idle and self._direct is not None and self._direct(data)

    def say(self, text: str) -> None:
        """Send a control frame ahead of queued output."""
        self._urgent.append(text)
        self._rouse()

    @property
    def closing(self) -> bool:
        """Whether the socket is to be closed once control frames are sent."""
        return self._closing is not None

    def close(self, code: int) -> None:
        """Close the socket after the control frames; queued output is not sent any more."""
        self._closing = code
        self._rouse()

    def forget_output(self) -> None:
        """Drop the terminal bytes that were not sent; control frames stay."""
        self.flow.add(-sum(len(item) for item in self._queue if isinstance(item, bytes)))
        self._queue = deque(item for item in self._queue if isinstance(item, str))

    def clear(self) -> None:
        """Drop everything that was not sent."""
        self._queue.clear()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _next(self) -> Mapping[str, Any] | None:
        if self._urgent:
            return {"type": "websocket.send", "text": self._urgent.pop(0)}
        if self._closing is not None:
            return {"type": "websocket.close", "code": self._closing}
        if not self._queue:
            return None
        first = self._queue.popleft()
        if isinstance(first, str):
            return {"type": "websocket.send", "text": first}
        if len(first) > FRAME:
            self._queue.appendleft(first[FRAME:])
            first = first[:FRAME]
        elif self._queue:
            first = self._joined(first)
        return {"type": "websocket.send", "bytes": first}

    def _joined(self, first: bytes) -> bytes:
        parts, size = [first], len(first)
        while self._queue:
            following = self._queue[0]
            if isinstance(following, str) or size + len(following) > FRAME:
                break
            parts.append(following)
            size += len(following)
            self._queue.popleft()
        return b"".join(parts)

    async def pump(self) -> None:
        """Send what is queued, until the socket is to be closed. Run this as one task."""
        while True:
            message = self._next()
            if message is None:
                self._wake = self._loop.create_future()
                await self._wake
                self._wake = None
                continue
            await self._send(message)
            if message["type"] == "websocket.close":
                return
            if len(message.get("bytes", b"")) > FRAME // 2:
                await asyncio.sleep(0)  # a flood must not keep others' keys waiting
