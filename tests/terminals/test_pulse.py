"""Pings and silence, on a clock that the test winds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from terminals import frames
from terminals.bridge import Bridge
from terminals.pulse import DEAD_AFTER, PING_EVERY, Pulse


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_ping_is_due_every_twenty_seconds() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    assert PING_EVERY == 20
    due = []
    for seconds in (19.9, 0.1):
        clock.now += seconds
        due.append(pulse.due)
    number = pulse.ping()
    assert [*due, pulse.due] == [False, True, False]
    clock.now += 0.25
    assert pulse.pong(number) == 0.25
    assert pulse.pong(number) is None


def test_unanswered_pings_do_not_pile_up() -> None:
    pulse = Pulse(Clock())
    numbers = [pulse.ping() for _ in range(100)]
    assert sum(pulse.pong(number) is not None for number in numbers) <= 8


async def test_a_bridge_pings_and_gives_a_silent_browser_up() -> None:
    clock, sent = Clock(), list[Mapping[str, Any]]()

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    bridge = Bridge(
        job_id=1, kind="session", actor="me", opening=frames.parse_opening(b""), send=send, clock=clock
    )  # fmt: skip
    for _ in range(2):  # shorter than the minute after which proxies close a socket
        clock.now += PING_EVERY
        bridge.tick()
    assert DEAD_AFTER == 45
    clock.now += DEAD_AFTER - 2 * PING_EVERY
    bridge.tick()
    bridge.handle(frames.parse_control('{"t":"pong","id":1}'))  # at the last moment
    clock.now += DEAD_AFTER
    bridge.tick()
    clock.now += 0.1
    bridge.tick()
    await bridge.pump()
    told = [json.loads(message["text"]) for message in sent if "text" in message]
    assert [frame["t"] for frame in told] == ["ping", "ping", "ping", "error"]
    assert (told[-1]["code"], told[-1]["close"], told[-1]["retry"]) == ("dead_peer", 4408, True)
    assert sent[-1] == {"type": "websocket.close", "code": 4408}
    await bridge.aclose()
