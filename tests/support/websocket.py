"""A WebSocket client for tests and benchmarks: RFC 6455 over asyncio, raw enough to break the rules."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class HandshakeRefused(Exception):
    """The server answered the handshake with something else than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


def packed(data: bytes | str, *, kind: int | None = None) -> bytes:
    """Return one masked frame."""
    payload = data.encode() if isinstance(data, str) else data
    opcode = kind if kind is not None else TEXT if isinstance(data, str) else BINARY
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    mask = os.urandom(4)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


class WebSocket(asyncio.Protocol):
    """One connection. `receive` gives bytes, text, or None after the server closed (see `close_code`).

    After `listen`, messages go to a function as they arrive, without a task between, as in a browser.
    """

    living: ClassVar[set[WebSocket]] = set()
    limit = 1024 * 1024  # bytes that wait to be received; beyond, the socket is not read

    def __init__(self) -> None:
        self.close_code: int | None = None
        self.on_message: Callable[[bytes | str], None] | None = None
        self._transport: Any = None
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._ended = False
        self._paused = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self.on_message is not None:
            while (message := self._next()) is not None:
                self.on_message(message)
            return
        if len(self._buffer) > self.limit and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._news.set()

    @classmethod
    async def connect(
        cls, port: int, path: str, headers: Mapping[str, str] | None = None, *, host: str = "127.0.0.1"
    ) -> Self:
        """Shake hands. Raises `HandshakeRefused`."""
        _, self = await asyncio.get_running_loop().create_connection(cls, host, port)
        fields = {
            "Host": f"{host}:{port}",
            "Origin": f"http://{host}:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if self._ended:
                raise ConnectionError("The server hung up during the handshake.")
            await self._more()
        status = int(self._buffer.split(b" ", 2)[1])
        if status != 101:
            self._transport.abort()
            raise HandshakeRefused(status)
        del self._buffer[: end + 4]
        self.living.add(self)
        return self

    def listen(self, on_message: Callable[[bytes | str], None]) -> None:
        """Hand messages to `on_message` from now on, first those that are here."""
        self.on_message = on_message
        self.data_received(b"")
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    async def _more(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._news.clear()
        await self._news.wait()

    def send(self, data: bytes | str, *, kind: int | None = None) -> None:
        """Queue one frame."""
        self.write(packed(data, kind=kind))

    def write(self, data: bytes) -> None:
        """Queue bytes as they are: frames in pieces, or several at once."""
        self._transport.write(data)

    def control(self, kind: str, **fields: Any) -> None:
        """Queue a control frame."""
        self.send(json.dumps({"t": kind, **fields}))

    def _frame(self) -> tuple[int, bytes] | None:
        """Return the next whole frame, its kind and its payload, or None."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < start or len(buffer) < start + size:
            return None
        payload = bytes(buffer[start : start + size])
        kind = buffer[0] & 0x0F
        del buffer[: start + size]
        return kind, payload

    def _next(self) -> bytes | str | None:
        """Return the next message that is here, or None; answer pings, note the end."""
        while self.close_code is None and (frame := self._frame()) is not None:
            kind, payload = frame
            if kind == BINARY:
                return payload
            if kind == TEXT:
                return payload.decode()
            if kind == PING:
                self.send(payload, kind=PONG)
            elif kind == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self._transport.abort()
        return None

    async def receive(self) -> bytes | str | None:
        """Return the next message; answers pings by itself."""
        while True:
            message = self._next()
            if message is not None or self.close_code is not None:
                return message
            if self._ended:
                self.close_code = 1006
                return None
            await self._more()

    async def aclose(self) -> None:
        """Close politely."""
        if not self._transport.is_closing():
            self.send(struct.pack("!H", 1000), kind=CLOSE)
            try:
                async with asyncio.timeout(5):
                    while await self.receive() is not None:
                        pass
            except TimeoutError:
                pass
        self.kill()

    def kill(self) -> None:
        """Reset the connection, as a vanished browser does."""
        self.living.discard(self)
        self._transport.abort()

    @classmethod
    async def kill_all(cls) -> None:
        """Reset every connection that is still open, and let the loop see to it."""
        for socket in list(cls.living):
            socket.kill()
        await asyncio.sleep(0)
