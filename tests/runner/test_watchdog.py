"""The watchdog: what keeps a machine up, when it goes off, and what it says about that."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.remote import bundle
from jobs.remote.offload_runner.commands import watchdog

SESSION = "offload-shop-1-review"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bin") / "runner.pyz"
    path.write_bytes(bundle.build().data)
    return path


class Machine:
    """A root, a process table of text files, and an off switch that leaves a mark."""

    def __init__(self, runner: Path, tmp: Path) -> None:
        self.runner, self.root, self.proc = runner, tmp / "root", tmp / "proc"
        self.off = tmp / "off"
        (self.root / "jobs" / SESSION).mkdir(parents=True)
        (self.proc / "sys/kernel/random").mkdir(parents=True)
        self.boot("first")

    def boot(self, name: str) -> None:
        (self.proc / "sys/kernel/random/boot_id").write_text(name + "\n")

    def process(self, pid: int, parent: int, command: str) -> None:
        there = self.proc / str(pid)
        there.mkdir(exist_ok=True)
        (there / "stat").write_text(f"{pid} (name) S {parent} 0 0")
        (there / "cmdline").write_text(command.replace(" ", "\0"))

    def look(self, minutes: float = 30, command: str = "", code: int = 0) -> dict[str, Any]:
        argv = [
            sys.executable, str(self.runner), "--root", str(self.root), "--tmux", "no-such-tmux", "watchdog",
            "--idle-minutes", str(minutes), "--off-command", command or f"touch {self.off}",
            "--proc", str(self.proc),
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        self.said = done.stderr
        return dict(json.loads((self.root / "state/idle.json").read_text()))

    def idle_for(self, minutes: float) -> None:
        """Let the last use be so long ago."""
        path = self.root / "state/idle.json"
        seen = json.loads(path.read_text())
        seen["idle_since"] = watchdog.moment(time.time() - 60 * minutes)
        path.write_text(json.dumps(seen))

    @contextmanager
    def job(self) -> Iterator[None]:
        with (self.root / "jobs" / SESSION / "run.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@pytest.fixture
def machine(runner: Path, tmp_path: Path) -> Machine:
    return Machine(runner, tmp_path)


def test_an_idle_machine_says_when_it_stops_and_why_and_then_stops(machine: Machine) -> None:
    seen = machine.look()
    stops = datetime.fromisoformat(seen["stops_at"])
    assert timedelta(minutes=28) < stops - datetime.now(UTC) <= timedelta(minutes=30)
    assert "nothing has been at work here since" in seen["because"]
    assert not machine.off.exists()
    machine.idle_for(29)
    machine.look()
    assert not machine.off.exists()
    machine.idle_for(31)
    assert machine.look()["off"]
    assert machine.off.exists()


def test_a_job_at_work_keeps_it_up_and_its_end_begins_the_time(machine: Machine) -> None:
    machine.look()
    machine.idle_for(31)
    with machine.job():
        seen = machine.look()
        assert (seen["stops_at"], seen["because"]) == (None, f"{SESSION} is at work")
    assert not machine.off.exists()
    assert machine.look()["stops_at"] > watchdog.moment(time.time() + 60 * 28)


def test_ssh_logins_count_and_our_own_listening_does_not(machine: Machine) -> None:
    machine.process(10, 1, "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups")
    machine.process(11, 10, "sshd: ann [priv]")
    machine.process(12, 11, "sshd: ann@notty")
    machine.process(13, 12, "python3 /d/bin/runner-0123.pyz --root /d follow")
    assert machine.look()["reasons"] == []
    machine.process(14, 12, "scp -f notes")
    assert machine.look()["because"] == "ann runs a command by ssh"
    machine.process(15, 11, "sshd-session: bob@pts/3")
    texts = [reason["text"] for reason in machine.look()["reasons"]]
    assert texts == ["ann runs a command by ssh", "bob is logged in by ssh (pts/3)"]


def test_kept_on_request(machine: Machine) -> None:
    machine.look()
    machine.idle_for(31)
    until = watchdog.moment(time.time() + 3600)
    (machine.root / "state/keep-until").write_text(until)
    seen = machine.look()
    assert (seen["stops_at"], seen["because"]) == (until, "it is kept until then on request")
    assert not machine.off.exists()
    for nonsense in ("tomorrow", "", "9999-01-01T00:00:00Z", watchdog.moment(time.time() - 1)):
        (machine.root / "state/keep-until").write_text(nonsense)
        machine.off.unlink(missing_ok=True)
        machine.look()
        assert machine.off.exists(), nonsense


def test_a_new_boot_begins_anew(machine: Machine) -> None:
    machine.look()
    machine.idle_for(600)
    machine.boot("second")
    machine.look()
    assert not machine.off.exists()


def test_a_switch_that_fails_is_told(machine: Machine) -> None:
    machine.look()
    machine.idle_for(31)
    machine.look(command="false", code=69)
    assert "Turning this machine off with `false` failed: it ended with 1" in machine.said


def test_attached_terminals_are_seen_on_every_server(tmp_path: Path) -> None:
    place = tmp_path / "tmux-7"
    place.mkdir(mode=0o700)
    socket = str(place / "default")
    tmux = ["tmux", "-S", socket, "-f", "/dev/null"]
    subprocess.run([*tmux, "new-session", "-d", "-s", SESSION, "sleep 600"], check=True)
    try:
        from jobs.remote.offload_runner.screen.tmux import Tmux

        server = Tmux(tmp_path, "tmux", "")
        if os.geteuid() == 0:
            assert watchdog.attached(server, str(tmp_path / "tmux-*")) == []
            client = subprocess.Popen(
                [*tmux, "-C", "attach", "-t", f"={SESSION}"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            end = time.monotonic() + 20
            while not (seen := watchdog.attached(server, str(tmp_path / "tmux-*"))):
                assert time.monotonic() < end
                time.sleep(0.05)
            assert seen == [{"kind": "terminal", "text": f"a terminal is attached to {SESSION}"}]
            client.kill()
            client.communicate()
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
