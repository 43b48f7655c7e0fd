"""The short way of a key through the web server: the same bytes, in the same order, as the long one."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from offload_web.eager import small_frame
from terminals.outbox import KEYS, PAUSE, Outbox
from tests.support.plain_terminals import PlainTerminals
from tests.support.websocket import BINARY, PING, TEXT, packed
from tests.terminals.test_bytes import until_text

ECHO = ["sh", "-c", "stty raw -echo; printf READY; exec cat"]


@given(st.binary(min_size=1, max_size=125))
def test_a_small_binary_frame_is_read(payload: bytes) -> None:
    assert small_frame(packed(payload)) == payload


@given(st.binary(min_size=1, max_size=125), st.data())
def test_anything_else_is_left_to_the_library(payload: bytes, data: st.DataObject) -> None:
    frame = packed(payload)
    for other in (
        packed(payload, kind=TEXT),
        packed(payload, kind=PING),
        bytes([BINARY]) + frame[1:],  # not final
        bytes([frame[0] | 0x40]) + frame[1:],  # a bit of an extension
        frame[:1] + bytes([len(payload)]) + frame[2:],  # said to be unmasked
        frame + data.draw(st.binary(min_size=1, max_size=10)),
        frame[: data.draw(st.integers(0, len(frame) - 1))],
        packed(payload * 126),
        packed(b""),
    ):
        assert small_frame(other) is None


async def test_keys_are_exact_however_the_network_cuts_them() -> None:
    source = random.Random(5)
    pieces = [source.randbytes(source.choice([1, 1, 1, 3, 80, 125, 126, 400])) for _ in range(1500)]
    with PlainTerminals([ECHO]) as server:
        socket = await server.connect(0)
        await until_text(socket, b"READY")
        expected = b"".join(pieces)
        seen, acked = b"", 0
        stream = bytearray()
        for number, piece in enumerate(pieces):
            if number % 7 == 0 and len(piece) > 2:  # in fragments
                first, last = packed(piece[:1]), packed(piece[1:], kind=0)
                stream += bytes([first[0] & 0x7F]) + first[1:] + last
            else:
                stream += packed(piece)
            if number % 11 == 0:
                stream += packed(json.dumps({"t": "ping", "id": number}))
            while stream and source.random() < 0.6:
                size = source.choice([1, 2, 7, len(stream), len(stream)])
                socket.write(bytes(stream[:size]))
                del stream[:size]
                await asyncio.sleep(0)
        socket.write(bytes(stream))
        async with asyncio.timeout(60):
            while len(seen) < len(expected):
                message = await socket.receive()
                assert message is not None, server.log.read_text()
                if isinstance(message, bytes):
                    seen += message
                    if len(seen) - acked >= 65536:
                        acked = len(seen)
                        socket.control("ack", n=acked + len(b"READY"))
        assert seen == expected
        await socket.aclose()


class Slow:
    """A socket whose messages leave when they are let go; what is sent by a call leaves at once."""

    def __init__(self) -> None:
        self.left: list[Any] = []
        self.gate = asyncio.Event()
        self.takes = True

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.gate.wait()
        self.left.append(message.get("bytes") or message.get("text"))

    def direct(self, data: bytes) -> bool:
        if self.takes:
            self.left.append(("direct", data))
        return self.takes


async def settled(outbox: Outbox, slow: Slow) -> None:
    """Let the pump send everything there is, and it be silent for long enough."""
    slow.gate.set()
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(2 * PAUSE)


async def test_nothing_overtakes_what_is_still_being_sent() -> None:
    slow = Slow()
    outbox = Outbox(slow.send, slow.direct)
    pump = asyncio.create_task(outbox.pump())
    outbox.put(b"before the pump runs")
    await asyncio.sleep(0)
    outbox.put(b"while it sends")
    outbox.say("urgent")
    await settled(outbox, slow)
    assert slow.left == [b"before the pump runs", "urgent", b"while it sends"]
    outbox.put(b"a key")
    outbox.put(b"at once after it: gathered")
    outbox.put(b" with this")
    assert slow.left[3:] == [("direct", b"a key")]
    await settled(outbox, slow)
    assert slow.left[4:] == [b"at once after it: gathered with this"]
    assert outbox.flow.sent == sum(
        len(one if isinstance(one, bytes) else one[1]) for one in slow.left if one != "urgent"
    )
    pump.cancel()


async def test_what_is_large_or_not_taken_goes_the_long_way() -> None:
    slow = Slow()
    outbox = Outbox(slow.send, slow.direct)
    pump = asyncio.create_task(outbox.pump())
    await settled(outbox, slow)
    outbox.put(b"x" * (KEYS + 1))
    await settled(outbox, slow)
    slow.takes = False
    outbox.put(b"key")
    await settled(outbox, slow)
    assert slow.left == [b"x" * (KEYS + 1), b"key"]
    pump.cancel()
