"""Every byte arrives, in both directions, over local and ssh terminals; a slow browser holds them up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.plain_terminals import PlainTerminals
from tests.support.sshd import Sshd
from tests.support.websocket import WebSocket

SIZE = 32 * 1024 * 1024
# A terminal in raw mode passes bytes as they are. The length first, so that the end is known.
SEND = "stty raw -echo; printf READY; cat {file}; printf '\\nDONE'; sleep 60"
TAKE = "stty raw -echo; printf READY; head -c {size} | sha256sum; sleep 60"


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bytes") / "blob"
    path.write_bytes(random_utf8(SIZE))
    return path


def random_utf8(size: int) -> bytes:
    source = random.Random(3)
    block = "".join(
        chr(source.randint(*source.choice([(33, 126), (0xA1, 0x7FF), (0x4E00, 0x9FFF), (0x1F300, 0x1F64F)])))
        for _ in range(100_003)
    ).encode()
    return (block * (size // len(block) + 1))[:size]


@pytest.fixture(params=["local", "ssh"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any] | None]:
    if request.param == "local":
        yield None
        return
    with Sshd(tmp_path / "sshd") as sshd:
        yield vars(sshd.endpoint())


async def until_text(socket: WebSocket, wanted: bytes) -> bytes:
    """Read until `wanted` came; return everything."""
    seen = b""
    async with asyncio.timeout(30):
        while wanted not in seen:
            message = await socket.receive()
            assert message is not None, socket.close_code
            if isinstance(message, bytes):
                seen += message
    return seen


async def test_output_is_exact(endpoint: dict[str, Any] | None, blob: Path) -> None:
    command = ["sh", "-c", SEND.format(file=blob)]
    with PlainTerminals([command], endpoint=endpoint) as server:
        socket = await server.connect(0)
        digest, seen, tail, marked = hashlib.sha256(), 0, b"", 0
        async with asyncio.timeout(100):
            while seen < SIZE + 5:
                message = await socket.receive()
                assert message is not None, server.log.read_text()
                if isinstance(message, str):
                    continue
                assert len(message) <= 64 * 1024
                seen += len(message)
                tail += message
                usable = len(tail) if seen < SIZE + 5 else len(tail) - (seen - SIZE - 5)
                digest.update(tail[:usable])
                tail = tail[usable:]
                if seen - marked >= 65536:
                    marked = seen
                    socket.control("ack", n=seen)
        expected = hashlib.sha256(b"READY" + blob.read_bytes())
        assert digest.hexdigest() == expected.hexdigest()
        await socket.aclose()


async def test_input_is_exact(endpoint: dict[str, Any] | None, blob: Path) -> None:
    data = blob.read_bytes()
    with PlainTerminals([["sh", "-c", TAKE.format(size=SIZE)]], endpoint=endpoint) as server:
        socket = await server.connect(0)
        await until_text(socket, b"READY")
        taken = await paste(socket, data, server)
        assert hashlib.sha256(data).hexdigest().encode() in taken
        await socket.aclose()


async def test_a_paste_of_a_megabyte_arrives_whole() -> None:
    data = random_utf8(1024 * 1024)
    with PlainTerminals([["sh", "-c", TAKE.format(size=len(data))]]) as server:
        socket = await server.connect(0)
        await until_text(socket, b"READY")
        assert hashlib.sha256(data).hexdigest().encode() in await paste(socket, data, server)
        await socket.aclose()


async def paste(socket: WebSocket, data: bytes, server: PlainTerminals) -> bytes:
    """Send as the page does: pieces of 16 KiB, eight on their way; return what came back at the end."""
    piece, flying, taken, output = 16 * 1024, 0, 0, b""
    async with asyncio.timeout(100):
        while b"-" not in output.split(b"READY")[-1]:
            while flying < len(data) and flying - taken < 8 * piece:
                socket.send(data[flying : flying + piece])
                flying += piece
            message = await socket.receive()
            assert message is not None, server.log.read_text()
            if isinstance(message, bytes):
                output += message
            elif (control := json.loads(message))["t"] == "taken":
                taken = control["n"]
    return output


async def test_a_stalled_reader_pauses_the_terminal_and_costs_no_memory(
    endpoint: dict[str, Any] | None,
) -> None:
    with PlainTerminals([["yes"]], endpoint=endpoint) as server:
        other = await server.connect(0)  # warms the server up
        await drawn(other, 4 * 1024 * 1024)
        await other.aclose()
        before = server.memory()
        socket = await server.connect(0)
        seen = await settled(socket)
        # The window, a chunk that was in flight when it filled, and nothing more.
        assert 256 * 1024 < seen <= 256 * 1024 + 2 * 64 * 1024
        assert server.memory() - before <= 1024 * 1024
        used = server.cpu()
        await asyncio.sleep(1.0)  # not waiting for something: measuring that a paused flood is idle
        assert server.cpu() - used <= 0.1
        socket.control("ack", n=seen)
        assert await settled(socket) > 128 * 1024  # it goes on where it stopped
        await socket.aclose()


async def settled(socket: WebSocket) -> int:
    """Read without acknowledging until nothing comes any more; return the bytes."""
    seen = 0
    while True:
        try:
            async with asyncio.timeout(1.0):
                message = await socket.receive()
        except TimeoutError:
            return seen
        assert message is not None
        seen += len(message) if isinstance(message, bytes) else 0


async def drawn(socket: WebSocket, size: int) -> None:
    """Read and acknowledge `size` bytes."""
    seen = 0
    while seen < size:
        message = await socket.receive()
        assert message is not None
        if isinstance(message, bytes):
            seen += len(message)
            socket.control("ack", n=seen)
