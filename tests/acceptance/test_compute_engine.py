"""Workers on Compute Engine, from the command line: the simulator, and a real sshd behind each machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.request import urlopen

import pytest

from jobs.providers.gce.simulator import running
from jobs.providers.gce.simulator.machines import SshdMachines
from tests.support.cli import offload_cli
from tests.support.desk import Desk, make_shop, reconciling, until
from tests.support.git_repos import git
from tests.support.zygote import Zygote, zygote

TRUE_WITHIN = 10.0  # seconds in which the state shown must be true
pytestmark = pytest.mark.timeout(240)


@dataclass
class Tour(Desk):
    """A home with simulated machines. `cli` starts `manage.py`; `warm` forks what has imported it all."""

    warm: Zygote

    def json(self, *words: str) -> dict[str, Any]:
        """Run a command line and return what it says as data."""
        found: dict[str, Any] = json.loads(self.warm.run(*words, "--json").out)
        return found

    def fleet(self, verb: str, *words: str) -> dict[str, Any]:
        """Carry out a verb of `fleet`; return the worker as it says it is then."""
        found: dict[str, Any] = self.json("fleet", verb, *words, "--yes")["worker"]
        return found

    def job(self, number: int) -> dict[str, Any]:
        """Return a job as `offload status` shows it."""
        found: dict[str, Any] = self.json("offload", "status", *self.target(number))["job"]
        return found

    def begin(self, number: int, worker: str = "tour") -> str:
        """Start a review whose test waits; return its session once the test runs."""
        session = str(self.json("offload", *self.target(number), "--worker", worker)["job"]["session"])
        self.wait_for_test(number, session, worker)
        return session

    def worker(self, name: str = "tour") -> tuple[str, str]:
        """Return what is written down of a worker: state, and why."""
        return (
            self.row("jobs_worker", "state", name=name),
            self.row("jobs_worker", "state_detail", name=name),
        )

    def happened(self, session: str, kind: str, **wanted: str) -> list[datetime]:
        """Return when events of a kind befell a job."""
        sql = (
            "SELECT e.at, e.data FROM jobs_jobevent e JOIN jobs_job j ON j.id = e.job_id "
            "WHERE j.session = ? AND e.kind = ? ORDER BY e.id"
        )
        with sqlite3.connect(self.cli.home / "offload.sqlite3", timeout=20) as database:
            rows = database.execute(sql, (session, kind)).fetchall()
        found = [(datetime.fromisoformat(at), json.loads(data)) for at, data in rows]
        return [at for at, data in found if all(data.get(key) == value for key, value in wanted.items())]

    def simulator(self) -> tuple[str, int]:
        """Return the simulator's URL and process."""
        return running.read(self.cli.home)

    def resources(self) -> dict[str, list[str]]:
        """Return the names of the machines and disks that there are."""
        url, _ = self.simulator()
        found = {}
        for kind in ("instances", "disks"):
            path = f"/compute/v1/projects/simulated/aggregated/{kind}"
            with urlopen(url + path, timeout=30) as answer:
                scopes = json.load(answer)["items"].values()
            found[kind] = sorted(one["name"] for scope in scopes for one in scope.get(kind, ()))
        return found

    def steer(self, verb: str, /, **values: Any) -> None:
        """Steer the simulator."""
        url, body = f"{self.simulator()[0]}/simulator/{verb}", json.dumps(values).encode()
        urlopen(url, body, timeout=60).close()


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    tmp = tmp_path_factory.mktemp("tour")
    with ExitStack() as stack:
        cli = stack.enter_context(offload_cli(tmp))
        # No credentials anywhere, and nothing to export: a simulated worker is reached by its row alone.
        cli.env["HOME"] = str(tmp / "person")
        warm = stack.enter_context(zygote(cli.env))
        tour = Tour(cli, make_shop(tmp / "shop"), warm)
        try:
            done = cli.run("fleet", "provision", "tour", "--simulate", "--spot", "--auto-resume")
            assert "It costs about" in done.stderr
            assert "costs nothing" in done.stderr
            assert "tour is up in us-central1-a" in done.stdout
            tour.steer("set", seconds=0.3)  # what the simulator does takes so long
            yield tour
        finally:
            if pid := tour.simulator()[1]:
                os.kill(pid, signal.SIGKILL)
            SshdMachines(running.machines(cli.home), "").stop_all()
            shutil.rmtree(running.machines(cli.home), ignore_errors=True)


def test_review_stop_and_the_same_command_wakes_it(tour: Tour) -> None:
    done = tour.cli.run("offload", *tour.target(1), "--worker", "tour", "--wait")
    assert "safe to close your laptop" in done.stderr
    assert "Verdict on #1" in done.stdout
    assert tour.fleet("stop", "tour")["state"] == "stopped"

    # What has ended is shown without waking anything.
    again = tour.warm.run("offload", *tour.target(1), "--wait")
    assert "Verdict on #1" in again.out
    assert "Waking" not in again.err
    assert tour.worker()[0] == "stopped"

    # What has not, wakes the machine; `stop` asks before it takes a machine from under a job.
    go = tour.waiting_pull(2)
    session = tour.begin(2)
    assert tour.worker()[0] == "ready"
    refused = tour.warm.run("fleet", "stop", "tour", code=5)
    assert f"tour is at work: {session}" in refused.err
    tour.fleet("stop", "tour", "--force")
    job = tour.job(2)
    assert (job["state"], job["reason"]) == ("interrupted", "worker_stopped")
    go.touch()
    resumed = tour.cli.run("offload", *tour.target(2), "--wait")
    assert "Waking tour: Stopped on request." in resumed.stderr
    assert "Verdict on #2" in resumed.stdout


def test_preempted_in_the_middle_of_a_job(tour: Tour) -> None:
    """Nobody watches: the shell's own `status` must not show what was true once."""
    go = tour.waiting_pull(3)
    session = tour.begin(3)
    tour.warm.run("fleet", "preempt", "tour")
    began = time.monotonic()
    shown = tour.warm.run("offload", "status", *tour.target(3)).out
    took = time.monotonic() - began
    assert "interrupted" in shown
    assert "Google took the spot machine back" in shown
    assert "Known from the provider of tour" in shown
    assert took < TRUE_WITHIN
    state, why = tour.worker()
    assert state == "stopped"
    assert "Google took the spot machine back" in why

    resumed = tour.warm.run("offload", *tour.target(3), "--detach")
    assert "was interrupted and is resumed" in resumed.err
    go.touch()
    assert tour.json("offload", "wait", *tour.target(3))["job"]["verdict"] == "pass"
    # It went on at the first task that had not ended.
    assert len(tour.happened(session, "task_started", task="context")) == 1
    assert len(tour.happened(session, "task_started", task="test")) == 2


def test_listings_look_at_the_machines(tour: Tour) -> None:
    tour.waiting_pull(5)
    session = tour.begin(5)
    tour.steer("happen", what="hostError", name="tour")
    assert "Its host failed." in tour.cli.run("fleet", "ls").stdout
    assert tour.row("jobs_job", "state", session=session) == "interrupted"
    assert "Needs you" in tour.warm.run("offload", "ls").out
    # Nothing runs on a machine that is down: cancelling needs no line to it.
    assert tour.json("offload", "cancel", *tour.target(5))["job"]["state"] == "cancelled"
    assert tour.worker()[0] == "stopped"


def test_preempted_under_the_loop_it_goes_on_by_itself(tour: Tour) -> None:
    go = tour.waiting_pull(4)
    session = tour.begin(4)
    with reconciling(tour):
        until(lambda: tour.row("jobs_job", "journal_seq", session=session), "the loop follows it")
        # It is stopping for a moment, and then it is down.
        tour.steer("happen", what="preempted", name="tour", warned=True)
        gone = lambda: tour.happened(session, "state", state="interrupted")  # noqa: E731
        assert until(gone, "the row says so") < TRUE_WITHIN
        back = lambda: tour.happened(session, "started", resumed=True)  # type: ignore[arg-type] # noqa: E731
        until(back, "machine and job come back by themselves", 60)
        go.touch()
        done = lambda: tour.row("jobs_job", "state", session=session) == "succeeded"  # noqa: E731
        until(done, "it ends well")
        until(lambda: tour.row("jobs_job", "archived_at", session=session), "its evidence is at home")
    assert len(tour.happened(session, "task_started", task="context")) == 1


def test_rebuild_keeps_the_data_disk_and_delete_asks_first(tour: Tour) -> None:
    tour.fleet("provision", "box", "--simulate")
    tour.warm.run("offload", "main", "open", *tour.target(1)[2:], "--worker", "box", "--detach")
    session = "offload-shop-main-open"
    root = tour.root_of("box")
    found = root / "worktrees" / session / "found.txt"
    found.write_text("work that is nowhere else\n")
    git(found.parent, "-c", "safe.directory=*", "add", "found.txt")
    git(found.parent, "-c", "safe.directory=*", "commit", "--quiet", "--message", "Found")
    before = tour.resources()
    assert "box-data" in before["disks"]

    refused = tour.warm.run("fleet", "rebuild", "box", "--yes", code=5)
    assert f"box is at work: {session}" in refused.err
    tour.fleet("rebuild", "box", "--force")
    assert tour.resources() == before
    assert found.read_text() == "work that is nowhere else\n"

    refused = tour.warm.run("fleet", "delete", "box", "--yes", code=5)
    assert "work that is nowhere else" in refused.err
    assert session in refused.err
    tour.fleet("stop", "box")
    unknown = tour.warm.run("fleet", "delete", "box", "--yes", code=5)
    assert "it is unknown whether work" in unknown.err, "a machine that is down cannot be asked"
    tour.fleet("start", "box")
    assert tour.json("offload", "rm", session, "--force", "--yes")["bundle"]

    kept = tour.fleet("delete", "box")
    assert (kept["state"], kept["kept"]) == ("absent", ["disk box-data in us-central1-a"])
    left = tour.resources()
    assert ("box" in left["instances"], "box-data" in left["disks"]) == (False, True)
    gone = tour.warm.run("offload", "main", "review", *tour.target(1)[2:], "--worker", "box", code=3)
    assert "was deleted" in gone.err
    assert (root / "repos").is_dir()
    tour.fleet("delete", "box", "--with-disk")
    assert "box-data" not in tour.resources()["disks"]
    assert not root.exists()
    swept = tour.json("fleet", "sweep")["swept"]
    assert (swept["orphans"], swept["gone"], swept["failed"]) == ([], [], [])
