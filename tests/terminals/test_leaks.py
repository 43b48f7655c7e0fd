"""Nothing is left of terminals that came and went."""

from __future__ import annotations

import os
import subprocess

from tests.support.leaks import until
from tests.support.terminal_server import TerminalServer
from tests.terminals.talk import clients, control


async def test_nothing_is_left_after_two_hundred_openings() -> None:
    with TerminalServer() as server:
        for _ in range(3):  # what stays once: threads, database connections
            await come_and_go(server, 0)
        assert server.process is not None
        pid = server.process.pid
        await until(lambda: not clients(server), "no client")
        before = descriptors(pid)
        for number in range(200):
            await come_and_go(server, number)
        await until(lambda: not clients(server), "no tmux client is left")
        await until(lambda: not attached_children(pid), "no process is left")
        await until(lambda: descriptors(pid) <= before + 2, f"{before} descriptors as before", 10)


async def come_and_go(server: TerminalServer, number: int) -> None:
    socket = await server.connect()
    if number % 4 != 3:  # every fourth vanishes in the middle of the attach
        await control(socket, "ready")
    if number % 2:
        socket.kill()
    else:
        await socket.aclose()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def attached_children(pid: int) -> str:
    return subprocess.run(
        ["pgrep", "-P", str(pid), "tmux"], capture_output=True, text=True, check=False
    ).stdout
