"""Daphne's WebSocket with a short way through it, for terminals: a key costs a third of what it did.

- Writes leave at once. Twisted hands every write to its reactor, which waits until the socket is writable and
  then writes: two changes of the poll set and a turn of the loop for each echoed key. A socket with nothing
  queued is writable nearly always, so it is tried first; what it does not take goes the usual way.
- An application may take frames as they arrive, and send binary ones, by a call instead of a queue and a
  task: the ASGI extension `offload.socket` in its scope (`DirectSocket`).
- A small binary frame that comes alone, as a key does, is read here. Everything else is Autobahn's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

EXTENSION = "offload.socket"
_BINARY = 0x82  # RFC 6455, section 5.2: a final frame of the kind "binary"
_MASKED = 0x80
_HEAD = 6  # bytes before the payload of a masked frame of fewer than 126 bytes
_SMALL = 125
DIRECT = 4096
"""Bytes that `DirectSocket.send` takes at most."""


class EagerWebSocket(WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """Daphne's WebSocket on a transport that writes first and waits later."""

    listener: Callable[[bytes | str], None] | None = None

    def makeConnection(self, transport: Any) -> None:  # Twisted's name
        """Take the connection."""
        if hasattr(transport, "writeSomeData"):  # plain TCP; TLS buffers by itself
            transport.write = _Writer(transport)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:  # Twisted's name
        """Take bytes: one small binary frame here, all else by way of Autobahn."""
        if self._is_direct and not self.data and self.current_frame is None and not self.inside_message:
            payload = small_frame(data)
            if payload is not None:
                self.last_ping = time.time()
                self.listener(payload)  # type: ignore[misc]  # `_is_direct` looked
                return
        super().dataReceived(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # Autobahn's names
        """Take a whole message."""
        if self._is_direct:
            self.last_ping = time.time()
            self.listener(payload if isBinary else payload.decode())  # type: ignore[misc]
        else:
            super().onMessage(payload, isBinary)

    @property
    def _is_direct(self) -> bool:
        # What was queued before there was a listener is taken first.
        return (
            self.listener is not None
            and self.state == self.STATE_OPEN
            and not self.muted
            and self.application_queue.empty()
        )


def small_frame(data: bytes) -> bytes | None:
    """Return the payload of exactly one whole, small, masked binary frame; None for anything else. Pure."""
    size = len(data) - _HEAD
    if not 0 < size <= _SMALL or data[0] != _BINARY or data[1] != _MASKED | size:
        return None
    mask = int.from_bytes((data[2:6] * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(data[_HEAD:], "big") ^ mask).to_bytes(size, "big")


class DirectSocket:
    """The open WebSocket of an application, for calls instead of messages.

    Calls come in the event loop's thread. Connecting, and its end, stay ASGI messages.
    """

    __slots__ = ("_protocol",)

    def __init__(self, protocol: EagerWebSocket) -> None:
        self._protocol = protocol

    def listen(self, listener: Callable[[bytes | str], None]) -> None:
        """Have binary and text messages handed to `listener`, which must not raise.

        Messages that came before are still received as ASGI messages, and first.
        """
        self._protocol.listener = listener

    def unlisten(self) -> None:
        """Hand on nothing more: what comes from now on is received as ASGI messages."""
        self._protocol.listener = None

    def send(self, data: bytes) -> bool:
        """Send a small binary frame now; False: not possible at the moment, send it as an ASGI message."""
        protocol = self._protocol
        size = len(data)
        if size > DIRECT or protocol.state != protocol.STATE_OPEN or protocol.muted or protocol.send_queue:
            return False
        head = (_BINARY, size) if size <= _SMALL else (_BINARY, 126, size >> 8, size & 255)
        protocol.transport.write(bytes(head) + data)
        return True


class EagerServer(Server):  # type: ignore[misc]
    """Daphne's server, with the extension in the scope of its WebSockets."""

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Start the application of one connection."""
        if isinstance(protocol, EagerWebSocket):
            scope.setdefault("extensions", {})[EXTENSION] = DirectSocket(protocol)
        return super().create_application(protocol, scope)


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
