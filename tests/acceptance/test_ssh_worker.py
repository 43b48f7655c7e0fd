"""A machine behind a real sshd, from `fleet add` to `rm`, and under what networks and machines do."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from jobs.remote.offload_runner.screen.tmux_server import server_options
from tests.support.desk import reconciling
from tests.support.far_worker import FarWorker, far_worker, until
from tests.support.offload_home import processes_under
from tests.support.proxy import FaultProxy

TRUE_WITHIN = 10.0  # seconds in which the state shown must be true
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarWorker]:
    with far_worker(tmp_path_factory.mktemp("far")) as machine:
        added = machine.add()
        shown = subprocess.run(
            ["ssh-keygen", "-lf", f"{machine.sshd.host_key}.pub"], capture_output=True, text=True, check=True
        )
        assert [key["fingerprint"] for key in added["new_host_keys"]] == [shown.stdout.split()[1]]
        assert not machine.root.exists(), "adding a machine changes nothing on it"
        yield machine


def state(far: FarWorker, name: str = "far") -> str:
    return str(far.row("jobs_worker", "state", name=name))


def job_state(far: FarWorker, session: str) -> str:
    return str(far.row("jobs_job", "state", session=session))


def running_tests(far: FarWorker, session: str) -> list[int]:
    """Return the processes of the job's test: the pane itself stays, to show how it ended."""
    found = processes_under(str(far.root / "worktrees" / session))
    return [pid for pid in found if b"test.sh" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_review_on_a_far_machine_and_nothing_left(far: FarWorker) -> None:
    done = far.cli.run("offload", *far.target(1), "--worker", "far", "--wait")
    assert "Sending " in done.stderr, "the worker cannot fetch from a path of this machine"
    assert "safe to close your laptop" in done.stderr
    assert "Verdict on #1" in done.stdout
    job = far.cli.json("offload", "status", *far.target(1))["job"]
    assert (job["verdict"], job["worker"], job["state"]) == ("pass", "far", "succeeded")
    assert job["sha"] == far.shop.sha("refs/pull/1/head")
    assert "test.sh" in far.cli.run("offload", "logs", *far.target(1)[:2], "test", *far.target(1)[2:]).stdout
    assert list(far.root.glob("repos/.*bundle*")) == []

    # The next one of the same repository brings only what is new.
    far.shop.pull(2, {"app.txt": "other\n"})
    again = far.cli.run("offload", *far.target(2), "--worker", "far", "--wait")
    assert "Sending what is new" in again.stderr
    far.shop.pull(2, {"app.txt": "moved on\n"})
    back = far.cli.run("offload", *far.target(2))
    assert "has moved" in back.stderr, "the head is looked up here, where the repository is"

    for number in (1, 2):
        far.cli.run("offload", "rm", *far.target(number), "--yes")
    sessions = [f"offload-shop-{number}-review" for number in (1, 2)]
    until(
        lambda: not [left for left in far.leftovers() if any(s in left for s in sessions)], "nothing is left"
    )
    assert not [name for name in far.tmux("ls").splitlines() if any(s in name for s in sessions)]
    # The record stays readable without the worker.
    assert "test.sh" in far.cli.run("offload", "logs", *far.target(1)[:2], "test", *far.target(1)[2:]).stdout


def test_attach_type_detach_cancel(far: FarWorker) -> None:
    far.waiting_pull(10)
    with far.cli.terminal("offload", *far.target(10), "--worker", "far") as terminal:
        terminal.expect("test")
        until(lambda: far.tmux("list-clients"), "a client is attached")
        terminal.type_until(b"\x02d", "keeps running")
        assert terminal.wait() == 0
        assert terminal.is_restored()
    session = "offload-shop-10-review"
    assert session in far.tmux("ls"), "detaching ends nothing"
    until(lambda: running_tests(far, session), "the test runs")
    cancelled = far.cli.json("offload", "cancel", *far.target(10))["job"]
    assert cancelled["state"] == "cancelled"
    assert running_tests(far, session) == [], "cancelling returns when the processes are gone"
    far.cli.run("offload", "rm", *far.target(10), "--yes")
    assert session not in far.tmux("ls")


def test_waiting_goes_on_after_the_connection_was_killed(far: FarWorker) -> None:
    go = far.waiting_pull(11)
    far.launch(11)
    waiting = far.cli.start("offload", "wait", *far.target(11), "--json")
    for _ in range(2):
        until(far.sshd.connections, "it is connected")
        killed = far.sshd.cut()
        # It may be connected again before anything looks.
        until(lambda: not killed & set(far.sshd.connections()) or waiting.poll() is not None, "it is cut")  # noqa: B023
    until(far.sshd.connections, "it connects again by itself")
    go.touch()
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, out + err
    assert json.loads(out)["job"]["verdict"] == "pass"


def test_sshd_stops_and_comes_back_in_the_middle_of_a_job(far: FarWorker) -> None:
    go = far.waiting_pull(12)
    with reconciling(far):
        job = far.launch(12)
        until(lambda: state(far) == "ready", "the loop sees the machine")
        far.sshd.stop()
        try:
            assert until(lambda: state(far) == "unreachable", "it is unreachable") < TRUE_WITHIN
            # What is shown says that it is old, once it is.
            status = ("offload", "status", *far.target(12))
            until(lambda: "far cannot be reached" in far.cli.run(*status).stderr, "status could not look")
            assert job_state(far, job["session"]) == "running"
        finally:
            far.sshd.start()
        assert until(lambda: state(far) == "ready", "it is back") < TRUE_WITHIN
        go.touch()
        until(lambda: job_state(far, job["session"]) == "succeeded", "the job went on by itself")


async def test_the_network_stalls_in_the_middle_of_a_job(far: FarWorker, tmp_path: Path) -> None:
    """No reset, no close: only silence, as when the cable is pulled."""
    async with FaultProxy(far.sshd.port) as proxy:
        address = f"{getpass.getuser()}@127.0.0.1:{proxy.port}"
        await asyncio.to_thread(far.add, "stalling", host=address)
        go = far.waiting_pull(13)
        loop = reconciling(far)
        await asyncio.to_thread(loop.__enter__)
        try:
            job = await asyncio.to_thread(far.launch, 13, "stalling")
            await asyncio.to_thread(until, lambda: state(far, "stalling") == "ready", "it is followed")
            proxy.stall()
            took = await asyncio.to_thread(
                until, lambda: state(far, "stalling") == "unreachable", "silence is noticed"
            )
            assert took < TRUE_WITHIN
            go.touch()  # the job works on, unseen
            proxy.resume()
            back = await asyncio.to_thread(until, lambda: state(far, "stalling") == "ready", "it is back")
            assert back < TRUE_WITHIN
            done = lambda: job_state(far, job["session"]) == "succeeded"  # noqa: E731
            await asyncio.to_thread(until, done, "its end is read")
        finally:
            await asyncio.to_thread(loop.__exit__, None, None, None)


async def test_a_listing_and_doctor_ask_all_workers_at_once(far: FarWorker) -> None:
    names = ("one", "two", "three")
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(FaultProxy(far.sshd.port)) for _ in names]
        for name, proxy in zip(names, proxies, strict=True):
            address = f"{getpass.getuser()}@127.0.0.1:{proxy.port}"
            await asyncio.to_thread(far.add, name, host=address, root=f"{far.root}-{name}")
            proxy.accepted = 0
            proxy.stall()
        with sqlite3.connect(far.cli.home / "offload.sqlite3", timeout=20) as database:
            database.execute("UPDATE jobs_worker SET observed_at = NULL, state = 'unreachable'")
        listing = await asyncio.to_thread(far.cli.start, "fleet", "ls", "--json")
        # Each is asked before any has answered.
        await asyncio.to_thread(until, lambda: all(proxy.accepted for proxy in proxies), "all are asked")
        for proxy in proxies:
            proxy.resume()
        out, err = await asyncio.to_thread(listing.communicate, timeout=60)
        states = {worker["name"]: worker["state"] for worker in json.loads(out)["workers"]}
        assert {states[name] for name in names} == {"ready"}, err
        for proxy in proxies:
            proxy.stall()
        doctor = await asyncio.to_thread(far.cli.start, "doctor")
        assert doctor.stderr is not None
        waiting = await asyncio.to_thread(doctor.stderr.readline)
        for proxy in proxies:
            proxy.resume()
        assert "PASS  worker three" in (await asyncio.to_thread(doctor.communicate, timeout=60))[0]
        assert waiting.startswith("Waiting for "), waiting
        assert all(name in waiting for name in names), waiting
        for name in names:
            await asyncio.to_thread(far.cli.run, "fleet", "rm", name)


def test_the_tmux_server_is_killed_in_the_middle_of_a_job(tmp_path: Path) -> None:
    with far_worker(tmp_path) as far:
        far.add()
        go = far.waiting_pull(14)
        job = far.launch(14)
        os.kill(int(far.tmux("display-message", "-p", "#{pid}")), signal.SIGKILL)
        done = far.cli.run("offload", "wait", *far.target(14), "--json", code=10)
        assert json.loads(done.stdout)["job"]["state"] == "interrupted"
        go.touch()
        resumed = far.cli.run("offload", *far.target(14), "--wait")
        assert "was interrupted and is resumed" in resumed.stderr
        assert "Verdict on #14" in resumed.stdout
        far.cli.run("offload", "rm", job["session"], "--yes")
        far.require_nothing_left()


def test_the_manual_way_in_with_the_real_ssh(far: FarWorker) -> None:
    far.waiting_pull(15)
    far.launch(15)
    person = Path(far.cli.env["HOME"])
    written = far.cli.json("fleet", "ssh-config")["ssh_config"]
    assert (written["included"], written["hosts"]["far"]) == (False, "gcli-worker")
    assert not (person / ".ssh").exists(), "the user's own files are touched on the user's word only"
    config = written["path"]
    assert Path(config).stat().st_mode & 0o777 == 0o600
    argv = ["ssh", "-F", config, "-o", "BatchMode=yes", "gcli-worker"]
    socket = far.row("jobs_worker", "config", name="far")
    name = json.loads(socket)["tmux_socket"]
    list_sessions = ["tmux", *server_options(str(far.root), name), "ls"]
    listed = subprocess.run(
        [*argv, shlex.join(list_sessions)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "offload-shop-15-review" in listed.stdout, listed.stderr

    # What `status` prints is exactly what works.
    status = far.cli.run("offload", "status", *far.target(15)).stdout
    (manual,) = re.findall(r"manual +(ssh .*)", status)
    assert f"-F {config} gcli-worker" in manual
    assert manual == far.cli.json("offload", "status", *far.target(15))["job"]["attach"]
    attached = subprocess.Popen(
        ["script", "-qec", manual, "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    try:
        until(lambda: "offload-shop-15-review" in far.tmux("list-clients"), "it is attached by hand")
    finally:
        attached.kill()
        attached.communicate()

    # With the user's word: one line at the top, once; what was there stays.
    (person / ".ssh").mkdir(mode=0o700)
    own = person / ".ssh" / "config"
    own.write_text("Host other\n  Port 99\n")
    for _ in range(2):
        assert far.cli.json("fleet", "ssh-config", "--yes")["ssh_config"]["included"] is True
    first, rest = own.read_text().split("\n", 1)
    assert first == written["include"]
    assert rest == "Host other\n  Port 99\n"
    assert "ssh -t gcli-worker '" in far.cli.run("offload", "status", *far.target(15)).stdout
    assert "ssh gcli-worker" in far.cli.run("fleet", "ls").stdout
    far.cli.run("fleet", "ssh-config", "far", "--alias", "mine.box")
    assert "Host mine.box\n" in Path(config).read_text()
    own.unlink()
    far.cli.run("offload", "cancel", *far.target(15))
