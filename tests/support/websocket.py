"""A WebSocket client for tests and benchmarks: RFC 6455 over asyncio, raw enough to break the rules."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from collections.abc import Mapping
from typing import Any, ClassVar, Self

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class HandshakeRefused(Exception):
    """The server answered the handshake with something else than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


class WebSocket:
    """One connection. `receive` gives bytes, text, or None after the server closed (see `close_code`)."""

    living: ClassVar[set[WebSocket]] = set()

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.living.add(self)
        self.reader = reader
        self.writer = writer
        self.close_code: int | None = None

    @classmethod
    async def connect(
        cls, port: int, path: str, headers: Mapping[str, str] | None = None, *, host: str = "127.0.0.1"
    ) -> Self:
        """Shake hands. Raises `HandshakeRefused`."""
        reader, writer = await asyncio.open_connection(host, port, limit=1024 * 1024)
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
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            writer.transport.abort()
            raise HandshakeRefused(status)
        return cls(reader, writer)

    def send(self, data: bytes | str, *, kind: int | None = None) -> None:
        """Queue one frame."""
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
        masked = (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
        self.writer.write(head + mask + masked)

    def control(self, kind: str, **fields: Any) -> None:
        """Queue a control frame."""
        self.send(json.dumps({"t": kind, **fields}))

    async def receive(self) -> bytes | str | None:
        """Return the next message; answers pings by itself."""
        while True:
            try:
                head = await self.reader.readexactly(2)
                size = head[1] & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                payload = await self.reader.readexactly(size) if size else b""
            except (asyncio.IncompleteReadError, ConnectionError):
                self.close_code = self.close_code or 1006
                return None
            opcode = head[0] & 0x0F
            if opcode == BINARY:
                return payload
            if opcode == TEXT:
                return payload.decode()
            if opcode == PING:
                self.send(payload, kind=PONG)
            elif opcode == CLOSE:
                self.close_code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
                self.writer.transport.abort()
                return None

    async def aclose(self) -> None:
        """Close politely."""
        if not self.writer.transport.is_closing():
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
        self.writer.transport.abort()

    @classmethod
    async def kill_all(cls) -> None:
        """Reset every connection that is still open, and let the loop see to it."""
        for socket in list(cls.living):
            socket.kill()
        await asyncio.sleep(0)
