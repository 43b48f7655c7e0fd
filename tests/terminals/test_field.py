"""The terminal of an ssh worker as workers are in the field: no UTF-8 locale, a slow login."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import Sshd
from tests.support.terminal_server import TerminalServer
from tests.terminals.talk import control, output

NO_LOCALE = {"LC_ALL": "C", "LANG": "", "LC_CTYPE": ""}


def ssh_config(sshd: Sshd) -> dict[str, object]:
    """Return the configuration of a worker behind this sshd."""
    return {
        "host": "127.0.0.1", "port": sshd.port, "user": sshd.endpoint().user, "key": str(sshd.client_key),
        "known_hosts": str(sshd.known_hosts),
    }  # fmt: skip


@pytest.fixture(scope="module", params=["local", "ssh"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TerminalServer]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as sshd:
        config = ssh_config(sshd) if request.param == "ssh" else {}
        with TerminalServer(provider=request.param, config=config, env=NO_LOCALE) as running:
            yield running


async def test_text_is_utf8_whatever_the_locale(server: TerminalServer) -> None:
    socket = await server.connect()
    await control(socket, "ready")
    socket.send("printf '\\303\\274 %s\\n' 'ü→'; locale charmap\r".encode())
    seen = await output(socket, "UTF-8")
    assert "ü ü→" in seen
    await socket.aclose()
    socket = await server.connect()
    await control(socket, "ready")
    assert "ü ü→" in await output(socket, "offload-shop")
    await socket.aclose()


async def test_a_removed_socket_comes_back(server: TerminalServer) -> None:
    (server.root / "jobs" / server.sessions[0]).mkdir(parents=True, exist_ok=True)
    (server.root / "tmux" / f"{server.socket_name}.sock").unlink()
    socket = await server.connect()
    await control(socket, "ready")
    await output(socket, "offload-shop")
    await socket.aclose()


async def test_opening_costs_one_command_besides_the_attach(tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as sshd, TerminalServer(provider="ssh", config=ssh_config(sshd)) as server:
        for kind in ("session", "shell"):
            before = started(sshd)
            socket = await server.connect(kind=kind, tab=kind)
            await control(socket, "ready")
            await output(socket, "offload-shop")
            assert started(sshd) - before == 2


def started(sshd: Sshd) -> int:
    """Return how many commands sshd has started."""
    return sshd.log.read_text(errors="replace").count("Starting session: ")
