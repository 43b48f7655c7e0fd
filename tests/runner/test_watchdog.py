"""The watchdog: what keeps a machine up, when it goes off, and what it says about that."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.remote import bundle
from jobs.remote.offload_runner.commands import watchdog
from jobs.remote.offload_runner.engine import activity
from jobs.remote.offload_runner.screen.tmux import Tmux

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

    def process(self, pid: int, parent: int, command: str, terminal: int = 0) -> None:
        there = self.proc / str(pid)
        there.mkdir(exist_ok=True)
        (there / "stat").write_text(f"{pid} (name) S {parent} 0 0 {terminal} 0")
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
        seen["idle_clock"] = time.monotonic() - 60 * minutes
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
    machine.process(16, 1, "sshd: eve@pts/4")  # any process can call itself this
    assert len(machine.look()["reasons"]) == 2


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


def test_a_new_boot_starts_the_time_again(machine: Machine) -> None:
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


def wait_for(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not look():
        assert time.monotonic() < end
        time.sleep(0.05)


class Server:
    """A tmux server of ours with one detached session."""

    def __init__(self, root: Path) -> None:
        (root / "tmux").mkdir(mode=0o700)
        self.words = ["tmux", "-S", str(root / "tmux/offload.sock"), "-f", "/dev/null"]
        self.tmux = Tmux(root, "tmux", "")
        self.name = f"offload-watchdog-{os.getpid()}-review"
        subprocess.run([*self.words, "new-session", "-d", "-s", self.name, "sh"], check=True)

    def panes(self) -> list[activity.Pane]:
        """Return its panes; the machine may have servers of others."""
        return [pane for pane in activity.list_panes(self.tmux) if pane.session == self.name]

    def type(self, text: str) -> None:
        subprocess.run([*self.words, "send-keys", "-t", f"={self.name}:", text, "Enter"], check=True)

    def programs(self, silence: float = 0, proc: Path = Path("/proc")) -> list[str]:
        panes = self.panes()
        output = activity.follow_output(panes, {}, 0)
        found = activity.programs_in_panes(panes, activity.read_processes(proc), output, silence)
        return [reason["text"] for reason in found]


@pytest.fixture
def server(machine: Machine) -> Iterator[Server]:
    found = Server(machine.root)
    yield found
    subprocess.run([*found.words, "kill-server"], check=False)


def test_a_terminal_that_is_attached_keeps_it_up(server: Server) -> None:
    assert activity.attached_terminals(server.panes()) == []
    client = subprocess.Popen(
        [*server.words, "-C", "attach", "-t", f"={server.name}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    wanted = [{"kind": "terminal", "text": f"a terminal is attached to {server.name}"}]
    wait_for(lambda: activity.attached_terminals(server.panes()) == wanted)
    client.kill()
    client.communicate()


def test_a_program_that_waits_in_a_detached_pane_keeps_it_up(server: Server, tmp_path: Path) -> None:
    assert server.programs() == []
    script = tmp_path / "train"
    script.write_text("sleep 1000\n")
    # In front, below a script, and in the background: none of them prints anything.
    for line, undo in (("sleep 1000", "C-c"), (f"sh {script}", "C-c"), ("sleep 1000 &", "kill %1")):
        server.type(line)
        wait_for(lambda: server.programs(3600) == [f"sleep runs in the session {server.name}"])
        # After half a day of silence it counts as forgotten.
        assert server.programs(13 * 3600) == []
        server.type(undo)
        wait_for(lambda: server.programs() == [])


def test_an_agent_in_a_shell_in_the_container_keeps_it_up(machine: Machine, server: Server) -> None:
    """What runs in a container is a child of the engine; the pane has our own program and the engine's."""
    (pane,) = server.panes()
    supervisor = f"python3 /d/bin/runner-01.pyz --root /d supervise --session {server.name} --in-container"
    machine.process(pane.pid, 1, "python3 /d/bin/runner-01.pyz --root /d run", terminal=7)
    machine.process(20, pane.pid, f"docker exec -i maintainer-worker {supervisor} --shell", terminal=7)
    machine.process(30, 1, f"{supervisor} --shell")
    machine.process(31, 30, f"{supervisor} --shell")
    machine.process(32, 31, "/bin/bash", terminal=8)
    assert server.programs(proc=machine.proc) == []
    machine.process(33, 32, "gemini", terminal=8)
    assert server.programs(proc=machine.proc) == [f"gemini runs in the session {server.name}"]
    machine.process(30, 1, supervisor.replace(server.name, "offload-other-1-open") + " --shell")
    machine.process(31, 30, "reaper")
    assert server.programs(proc=machine.proc) == []


def decide(
    machine: Machine, now: float, clock: float, stamp: float | None = None, waits: bool = False
) -> dict[str, Any]:
    """Look as the watchdog does. `stamp`: of the output of a pane; `waits`: an agent waits in it."""
    options = argparse.Namespace(root=machine.root, proc=str(machine.proc), idle_minutes=30.0)
    path = machine.root / "state/idle.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    panes = [] if stamp is None else [activity.Pane("one", False, False, 50, stamp)]
    output = activity.follow_output(panes, before.get("panes") or {}, clock)
    agent = {50: activity.Process(1, 7, 0, "gemini")} if waits else {}
    uses = activity.programs_in_panes(panes, agent, output, clock)
    seen = watchdog.decide(options, before, uses, output, now, clock)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(seen))
    return seen


def test_what_a_detached_pane_shows_counts_as_use(machine: Machine, server: Server) -> None:
    (pane,) = server.panes()
    assert pane.activity > time.time() - 60
    decide(machine, 9000, 0, stamp=9000)
    assert not decide(machine, 12660, 3660, stamp=12600)["off"]
    assert not decide(machine, 14400, 5400, stamp=12600)["off"]
    assert decide(machine, 14460, 5460, stamp=12600)["off"]


def test_neither_a_step_of_the_clock_nor_a_suspend_turns_it_off(machine: Machine) -> None:
    now, day = time.time(), 86400.0
    (machine.root / "state").mkdir()
    keep = machine.root / "state/keep-until"
    keep.write_text(watchdog.moment(now + 3600))
    decide(machine, now, 100)
    kept = decide(machine, now + day, 160)
    assert kept["stops_at"][:-4] == watchdog.moment(now + day + 3600 - 60)[:-4]
    keep.unlink()
    assert not decide(machine, now + day, 160)["off"]
    # An agent that waits is as silent as it was before the step, and stays so for half a day.
    decide(machine, now, 200, stamp=now, waits=True)
    waits = decide(machine, now + day, 200 + 60 * 40, stamp=now, waits=True)
    assert (waits["off"], waits["stops_at"]) == (False, None)
    assert not decide(machine, now + day, 200 + 60 * 41, stamp=now)["off"]
    assert decide(machine, now - day, 200 + 60 * 72, stamp=now)["off"]
