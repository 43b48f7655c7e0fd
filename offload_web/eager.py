"""WebSocket frames leave at once.

Twisted hands every write to its reactor, which waits until the socket is writable and then writes: two
changes of the poll set and a turn of the loop for each echoed key. A socket with nothing queued is writable
nearly always, so it is tried first; what it does not take goes the usual way.
"""

from __future__ import annotations

from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol


class EagerWebSocket(WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """Daphne's WebSocket on a transport that writes first and waits later."""

    def makeConnection(self, transport: Any) -> None:  # Twisted's name
        """Take the connection."""
        if hasattr(transport, "writeSomeData"):  # plain TCP; TLS buffers by itself
            transport.write = _Writer(transport)
        super().makeConnection(transport)


class _Writer:
    __slots__ = ("_queue", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._queue = transport.write

    def __call__(self, data: bytes) -> None:
        """Write what the socket takes now, queue the rest."""
        transport = self._transport
        waiting = transport._tempDataBuffer or len(transport.dataBuffer) > transport.offset
        if transport.connected and not transport.disconnecting and not waiting and data:
            sent = transport.writeSomeData(data)
            if isinstance(sent, int):  # else the connection is lost: the reactor finds out when it writes
                data = data[max(0, sent) :]
        if data:
            self._queue(data)


def install() -> None:
    """Let every Daphne server of this process use it."""
    WebSocketFactory.protocol = EagerWebSocket
