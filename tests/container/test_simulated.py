"""Simulated machines whose jobs run in a container, from provision to delete: a real engine, real sshd."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.simulator import running
from tests.support.desk import until
from tests.support.docker_engine import DockerEngine
from tests.support.offload_home import processes_under
from tests.support.tour import Tour, on_tour

pytestmark = [pytest.mark.container, pytest.mark.timeout(300)]
# What a job did before its machine went away is there when it goes on.
WAITING = "echo begun >> kept.txt; echo waiting for go; while ! test -f go; do sleep 0.1; done; id -u\n"


@pytest.fixture
def tour(tmp_path: Path, docker_engine: DockerEngine) -> Iterator[Tour]:
    tmp_path.chmod(0o755)
    with on_tour(tmp_path, DOCKER_HOST=docker_engine.command[-1]) as tour:
        yield tour


def provision(tour: Tour, engine: DockerEngine, name: str) -> str:
    """Make a simulated machine with a container; return the container's name."""
    tour.fleet("provision", name, "--simulate", "--image", engine.image)
    tour.steer("set", seconds=0.3)
    (found,) = [one for one in tour.json("fleet", "ls")["workers"] if one["name"] == name]
    config = found["config"]
    config["container"]["network"] = "host"  # the tests' engine has no other
    tour.change_worker(name, config)
    return str(config["container"]["name"])


def containers(engine: DockerEngine, *words: str) -> set[str]:
    """Return the containers of jobs on simulated machines: those that run, or with `--all` all."""
    found = engine.ask("ps", "--filter", "label=offload.root", "--format", "{{.Names}}", *words).split()
    return {name for name in found if not name.endswith("-control")}


def test_without_image_or_engine_nothing_is_made(tour: Tour, docker_engine: DockerEngine) -> None:
    words = ("fleet", "provision", "tour", "--simulate", "--image")
    refused = tour.warm.run(*words, "nowhere:1", code=4)
    assert "The image nowhere:1 is not" in refused.err
    tour.cli.env["PATH"] = "/nowhere"
    alone = tour.cli.run(*words, docker_engine.image, code=4)
    assert "There is no container engine to use on this machine" in alone.stderr
    assert not tour.row("jobs_worker", "name", name="tour")
    assert not running.place(tour.cli.home).exists()


def test_from_provision_to_delete(tour: Tour, docker_engine: DockerEngine) -> None:
    box, twin = (provision(tour, docker_engine, name) for name in ("tour", "twin"))
    others = containers(docker_engine, "--all")
    tour.shop.pull(1, {"test.sh": WAITING})
    session = tour.begin(1)
    tour.warm.run("offload", "main", "open", *tour.target(1)[2:], "--worker", "twin", "--detach")
    assert containers(docker_engine) - others == {box, twin}
    image = docker_engine.ask("image", "inspect", "--format", "{{.Id}}", docker_engine.image).strip()
    assert processes_under(f"{tour.root_of('tour')}/jobs/{session}")

    # Taken away; the process that kept the machine is another process than the one that made it.
    os.kill(tour.simulator()[1], signal.SIGKILL)
    tour.warm.run("fleet", "preempt", "tour")
    assert containers(docker_engine) - others == {twin}
    until(lambda: tour.job(1)["state"] == "interrupted", "status sees it")
    shown = tour.warm.run("offload", "status", *tour.target(1)).out
    assert "Google took the spot machine back" in shown
    worktree = tour.root_of("tour") / "worktrees" / session
    assert (worktree / "kept.txt").read_text() == "begun\n"

    resumed = tour.warm.run("offload", *tour.target(1), "--detach")
    assert "was interrupted and is resumed" in resumed.err
    until(lambda: (worktree / "kept.txt").read_text() == "begun\nbegun\n", "the test runs again")
    assert containers(docker_engine) - others == {box, twin}
    (worktree / "go").touch()
    done = tour.json("offload", "wait", *tour.target(1))["job"]
    assert (done["verdict"], done["image"]) == ("pass", image)
    assert len(tour.happened(session, "task_started", task="context")) == 1
    log = tour.root_of("tour") / "jobs" / session / "tasks" / "test.log"
    assert log.read_text().rstrip().endswith("\n1000"), "it ran as the container's user"

    # A machine that is switched on has its container; one that was rebuilt gets it with the next job.
    tour.fleet("stop", "tour")
    assert containers(docker_engine) - others == {twin}
    tour.fleet("start", "tour")
    assert containers(docker_engine) - others == {box, twin}
    tour.fleet("rebuild", "twin", "--force")
    assert containers(docker_engine, "--all") - others == {box}

    tour.warm.run("offload", "rm", *tour.target(1), "--force", "--yes")
    for name in ("tour", "twin"):
        tour.fleet("delete", name, "--with-disk")
    assert containers(docker_engine, "--all") == others
    place = running.place(tour.cli.home)
    until(lambda: not processes_under(str(place)), "the simulator ends with its last machine")
    assert not list(running.machines(tour.cli.home).iterdir())
