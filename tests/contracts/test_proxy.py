"""The program that carries a connection: what it says, how it ends, and that nothing of it is left."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from jobs.errors import AuthRefused, ConnectFailed
from jobs.transport import ssh
from jobs.transport.endpoint import ProxyWords, SshEndpoint
from jobs.transport.proxy import ProxyMissing
from jobs.transport.ssh import Timing
from tests.support.leaks import Holdings, processes_with, until


def through(tmp_path: Path, *argv: str, words: tuple[ProxyWords, ...] = ()) -> SshEndpoint:
    return SshEndpoint(
        config_host="far",
        known_hosts=tmp_path / "known_hosts",
        user="me",
        proxy_command=argv,
        proxy_words=words,
    )


async def test_many_that_die_leave_nothing(tmp_path: Path) -> None:
    endpoint = through(tmp_path, "sh", "-c", "echo first >&2; echo 'last words' >&2; exit 7")
    with pytest.raises(ConnectFailed):
        await ssh.connect(endpoint)
    before = Holdings.now()
    for _ in range(20):
        with pytest.raises(ConnectFailed, match="sh ended with exit status 7: first last words"):
            await ssh.connect(endpoint)
    await before.come_back()


async def test_one_that_says_nothing_is_ended_with_its_children(tmp_path: Path) -> None:
    seconds = f"{600 + uuid.uuid4().int % 100000 / 1e6:f}"  # a number that no other sleep has
    endpoint = through(tmp_path, "sh", "-c", f"sleep {seconds} & echo 'still trying' >&2; wait")
    before = Holdings.now()
    with pytest.raises(ConnectFailed, match=r"far failed.*sh said: still trying"):
        await ssh.connect(endpoint, Timing(connect=0.5))
    await until(lambda: not processes_with(seconds), "the program and its child have ended")
    await before.come_back()


async def test_the_first_words_that_fit_decide(tmp_path: Path) -> None:
    words = (
        ProxyWords("not allowed", "Ask for it.", refused=True),
        ProxyWords("backend", "Start it."),
    )
    said = "backend 17: you are Not Allowed"
    with pytest.raises(AuthRefused, match="Not Allowed") as caught:
        await ssh.connect(through(tmp_path, "sh", "-c", f"echo '{said}' >&2", words=words))
    assert caught.value.hint == "Ask for it."
    with pytest.raises(ConnectFailed, match="backend 17") as failed:
        await ssh.connect(through(tmp_path, "sh", "-c", "echo 'backend 17' >&2", words=words))
    assert failed.value.hint == "Start it."


async def test_its_error_is_told_and_not_the_advice_below_it(tmp_path: Path) -> None:
    said = "WARNING: slow\nERROR: no token\nPlease run:\n  log in\nto have one.\nOr another\nprogram."
    with pytest.raises(ConnectFailed, match=r"exit status 1: ERROR: no token Please run: log in Try"):
        await ssh.connect(through(tmp_path, "sh", "-c", f"printf '{said}' >&2; exit 1"))


async def test_one_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ProxyMissing, match="no program no-such-program"):
        await ssh.connect(through(tmp_path, "no-such-program"))
