"""Workers on Compute Engine, from the command line: the simulator, and a real sshd behind each machine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.desk import reconciling, until
from tests.support.git_repos import git
from tests.support.tour import Tour, on_tour

TRUE_WITHIN = 10.0  # seconds in which the state shown must be true
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    with on_tour(tmp_path_factory.mktemp("tour")) as tour:
        done = tour.cli.run("fleet", "provision", "tour", "--simulate", "--spot", "--auto-resume")
        assert "It costs about" in done.stderr
        assert "costs nothing" in done.stderr
        assert "tour is up in us-central1-a" in done.stdout
        tour.steer("set", seconds=0.3)  # what the simulator does takes so long
        yield tour


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
    """No process watches: the shell's own `status` must not show what was true once."""
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
    assert "work that exists nowhere else" in refused.err
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
