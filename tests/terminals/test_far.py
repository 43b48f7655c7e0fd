"""Terminals behind a real sshd: the cipher, gathered writes, and nothing left of a hundred of them."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from jobs.transport.gathered import GatheredWrites
from jobs.transport.ssh import Timing, connect
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


async def test_writes_of_one_turn_are_one_and_the_last_ones_leave_before_the_end() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps writes apart
    near.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=_stream(near))
    gathered = GatheredWrites(transport)
    gathered.write(b"a")
    gathered.write(b"b")
    await asyncio.sleep(0)
    gathered.write(b"c")
    await asyncio.sleep(0)
    gathered.write(b"d")
    gathered.close()
    far.settimeout(5)
    assert [await asyncio.to_thread(far.recv, 10) for _ in range(4)] == [b"ab", b"c", b"d", b""]
    far.close()


def _stream(sock: socket.socket) -> socket.socket:
    """Return the same socket under the type that asyncio asks for."""
    return socket.socket(sock.family, socket.SOCK_STREAM, 0, fileno=sock.detach())


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
