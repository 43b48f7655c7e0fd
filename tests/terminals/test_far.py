"""Terminals behind a real sshd: the cipher, packets, and nothing left of a hundred of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from jobs.transport.ssh import Timing, connect
from jobs.transport.ssh_session import RemoteSession, remote_command
from tests.support.leaks import until
from tests.support.sshd import Sshd, children
from tests.support.terminal_server import TerminalServer
from tests.terminals.talk import clients
from tests.terminals.test_leaks import come_and_go, descriptors


async def test_the_cheapest_cipher_is_asked_for_first(tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as sshd:
        line = await connect(sshd.endpoint(), Timing())
        try:
            for direction in ("send_cipher", "recv_cipher"):
                assert line._connection.get_extra_info(direction) == "aes128-gcm@openssh.com"
        finally:
            await line.close()


@pytest.mark.parametrize(("cipher", "packets"), [("aes128-gcm@openssh.com", 1), ("aes128-ctr", 2)])
async def test_a_key_is_one_packet_where_the_cipher_allows(tmp_path: Path, cipher: str, packets: int) -> None:
    got, started = asyncio.Event(), RemoteSession(lambda data: got.set(), lambda data: None)
    with Sshd(tmp_path / "sshd", options=(f"Ciphers {cipher}",)) as sshd:
        line = await connect(sshd.endpoint(), Timing())
        try:
            await line.open(started, remote_command(["cat"]))
            await started.started.wait()
            before = line._connection._send_seq
            started.write(b"k")
            assert line._connection._send_seq - before == packets
            async with asyncio.timeout(10):
                await got.wait()
        finally:
            await line.close()


async def test_nothing_is_left_of_a_hundred_far_terminals(tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as sshd:
        config = {
            "host": "127.0.0.1", "port": sshd.port, "user": sshd.endpoint().user, "key": str(sshd.client_key),
            "known_hosts": str(sshd.known_hosts),
        }  # fmt: skip
        with TerminalServer(provider="ssh", config=config) as server:
            for _ in range(3):
                await come_and_go(server, 0)
            assert server.process is not None
            await until(lambda: not clients(server), "no client")
            before = descriptors(server.process.pid)
            for number in range(100):
                await come_and_go(server, number)
            await until(lambda: not clients(server), "no tmux client is left", 20)
            await until(lambda: not commands(sshd), "no ssh channel has a command any more", 20)
            await until(lambda: descriptors(server.process.pid) <= before + 4, "descriptors as before", 20)


def commands(sshd: Sshd) -> list[int]:
    """Return the processes that sshd runs for its connections' channels."""
    found = []
    for connection in sshd.connections():
        for child in [connection, *children(connection)]:
            found += [pid for pid in children(child) if os.path.exists(f"/proc/{pid}") and _is_command(pid)]
    return found


def _is_command(pid: int) -> bool:
    try:
        return b"tmux" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
