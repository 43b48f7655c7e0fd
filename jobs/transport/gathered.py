"""Writes of one turn of the event loop as one write to the socket.

asyncssh sends an empty packet before each of its packets, which ciphers of old needed: two writes for each
key that is typed, and sshd wakes up for both. Gathered, a key is one write.
"""

from __future__ import annotations

import asyncio
from typing import Any


class GatheredWrites:
    """A transport whose `write` waits until the callback that is running has returned."""

    __slots__ = ("_loop", "_pieces", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send `data`, together with what else is written now."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        # asyncssh's own pipe to a proxy command cannot tell; it ignores what comes after its end.
        is_closing = getattr(self._transport, "is_closing", bool)
        if pieces and not is_closing():
            self._transport.write(b"".join(pieces))

    def close(self) -> None:
        """Close the transport when everything is sent."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)
