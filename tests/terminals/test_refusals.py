"""Who and what the terminal refuses, with which reason."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.terminal_server import TerminalServer
from tests.support.websocket import HandshakeRefused, WebSocket
from tests.terminals.talk import control, refusal, rows


@pytest.mark.parametrize(
    ("frame", "code", "close"),
    [
        ('{"t":"resize","cols":0,"rows":0}', "bad_size", 4422),
        ('{"t":"resize","cols":10000,"rows":10000}', "bad_size", 4422),
        ("{", "malformed", 4400),
        ('{"t":"ack","n":99999999}', "malformed", 4400),
        (b"x" * (64 * 1024 + 1), "oversize", 4413),
        ("x" * 5000, "oversize", 4413),
    ],
)
async def test_a_wrong_frame_ends_the_terminal_with_a_reason(
    server: TerminalServer, frame: str | bytes, code: str, close: int
) -> None:
    socket = await server.connect()
    await control(socket, "ready")
    socket.send(frame)
    error = await refusal(socket)
    assert (error["code"], error["close"]) == (code, close)
    assert error["message"] in server.log.read_text()


async def test_a_frame_beyond_the_servers_own_limit_ends_the_terminal(server: TerminalServer) -> None:
    socket = await server.connect()
    await control(socket, "ready")
    socket.send(b"x" * (1024 * 1024 + 1))
    while await socket.receive() is not None:
        pass
    assert socket.close_code in (1009, 1006)


@pytest.mark.parametrize("query", [{"cols": 0}, {"rows": 10000}, {"mode": "own"}, {"cols": "many"}])
async def test_a_wrong_address_is_refused(server: TerminalServer, query: dict[str, Any]) -> None:
    assert (await refusal(await server.connect(**query)))["message"]


async def test_a_job_that_is_not_there_is_refused(server: TerminalServer) -> None:
    socket = await WebSocket.connect(
        server.port, f"{server.prefix}/ws/terminals/999/session/", server.headers()
    )
    error = await refusal(socket)
    assert (error["close"], error["code"]) == (4404, "not_found")


async def test_a_user_without_the_permission_is_refused(server: TerminalServer) -> None:
    error = await refusal(await server.connect(who="guest"))
    assert error["code"] == "not_allowed"
    assert "guest may not" in server.log.read_text()


async def test_who_may_not_watch_terminals_gets_no_picture(server: TerminalServer) -> None:
    path = f"{server.prefix}/ws/wall/"
    lines = {}
    for who in ("local", "guest"):
        lines[who] = await WebSocket.connect(server.port, path, server.headers(who))
        lines[who].send(json.dumps({"show": server.jobs[:1]}))
    async with asyncio.timeout(20):
        picture = await lines["local"].receive()
        assert json.loads(picture or "")["job"] == server.jobs[0]
        assert (await lines["guest"].receive(), lines["guest"].close_code) == (None, 4403)
        lines["local"].send(json.dumps({"show": ["1"]}))
        while await lines["local"].receive() is not None:
            continue
    assert lines["local"].close_code == 4400
    for line in lines.values():
        await line.aclose()


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": ""},
        {"Origin": "http://evil.example"},
        {"Origin": ""},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
async def test_a_foreign_handshake_is_refused(server: TerminalServer, headers: dict[str, str]) -> None:
    with pytest.raises(HandshakeRefused):
        await WebSocket.connect(server.port, server.path(), {**server.headers(), **headers})


async def test_more_terminals_than_the_cap_are_refused() -> None:
    with TerminalServer(env={"OFFLOAD_MAX_TERMINALS": "2"}) as small:
        sockets = [await small.connect() for _ in range(2)]
        for socket in sockets:
            await control(socket, "ready")
        error = await refusal(await small.connect())
        assert (error["close"], "cap is 2" in error["message"]) == (4429, True)
        sockets.pop().kill()
        async with asyncio.timeout(10):
            while True:  # until the server has noticed
                third = await small.connect()
                first = json.loads(await third.receive() or "{}")
                if first["t"] != "error":
                    break
        assert first["t"] == "ready"


async def test_a_removed_job_is_refused(server: TerminalServer) -> None:
    job = server.jobs[0]
    rows(server, "UPDATE jobs_job SET removed_at = '2026-01-01 00:00:00' WHERE id = ?", job)
    try:
        error = await refusal(await server.connect())
        assert error["code"] == "not_found"
        assert "removed" in error["message"]
    finally:
        rows(server, "UPDATE jobs_job SET removed_at = NULL WHERE id = ?", job)
