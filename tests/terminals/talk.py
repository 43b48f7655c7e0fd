"""Talking to the terminal's WebSocket in tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable
from typing import Any

from tests.support.terminal_server import TerminalServer
from tests.support.websocket import WebSocket


async def control(
    socket: WebSocket, kind: str, where: Callable[[dict[str, Any]], bool] = lambda _: True
) -> dict[str, Any]:
    """Return the next control frame of a kind."""
    async with asyncio.timeout(20):
        while (message := await socket.receive()) is not None:
            if isinstance(message, str):
                found: dict[str, Any] = json.loads(message)
                if found["t"] == kind and where(found):
                    return found
    raise AssertionError(f"closed with {socket.close_code} before `{kind}` came")


async def output(socket: WebSocket, wanted: str) -> str:
    """Read terminal bytes until `wanted` is among them."""
    seen = b""
    async with asyncio.timeout(20):
        while wanted.encode() not in seen:
            message = await socket.receive()
            assert message is not None, f"closed with {socket.close_code}: {seen!r}"
            if isinstance(message, bytes):
                seen += message
    return seen.decode(errors="replace")


async def refusal(socket: WebSocket) -> dict[str, Any]:
    """Return the error frame, after the socket was closed with its code."""
    error = await control(socket, "error")
    async with asyncio.timeout(10):
        while await socket.receive() is not None:
            pass
    assert socket.close_code == error["close"]
    return error


def clients(server: TerminalServer, job: int = 0) -> list[str]:
    """Return the tmux clients of a session: their flags."""
    return server.tmux("list-clients", "-t", f"={server.sessions[job]}", "-F", "#{client_flags}").splitlines()


def rows(server: TerminalServer, query: str, *values: object) -> list[Any]:
    """Run a query on the server's database."""
    with contextlib.closing(sqlite3.connect(server.home / "offload.sqlite3", timeout=20)) as database:
        found = database.execute(query, values).fetchall()
        database.commit()
        return found
