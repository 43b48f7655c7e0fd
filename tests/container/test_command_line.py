"""Workers with a container from the command line: here, and behind a real sshd."""

from pathlib import Path

import pytest

from tests.support.docker_engine import DockerEngine
from tests.support.far_worker import FarWorker, far_worker

pytestmark = [pytest.mark.container, pytest.mark.timeout(300)]


def words(engine: DockerEngine) -> list[str]:
    return ["--container", "--image", engine.image, "--engine", " ".join(engine.command), "--network", "host"]


def review(far: FarWorker, worker: str) -> None:
    job = far.cli.json("offload", *far.target(1), "--worker", worker, "--wait")["job"]
    assert (job["state"], job["verdict"]) == ("succeeded", "pass")
    assert job["image"].startswith("sha256:")
    said = far.cli.run("doctor", worker).stdout
    assert "runs, and is as it was made" in said
    peek = far.cli.run("offload", "peek", *far.target(1)).stdout
    assert "PASS" in peek
    far.cli.run("offload", "rm", *far.target(1), "--force", "--yes")
    far.require_nothing_left()


def test_a_review_from_fleet_add_to_rm(tmp_path: Path, docker_engine: DockerEngine) -> None:
    tmp_path.chmod(0o755)
    with far_worker(tmp_path) as far:
        far.cli.run("fleet", "add", "far", *far.words(), *words(docker_engine))
        try:
            review(far, "far")
            there = ["--provider", "local", "--root", str(far.root)]
            far.cli.run("fleet", "add", "laptop", *there, *words(docker_engine))
            review(far, "laptop")
        finally:
            # Neither root is the usual one of its user: two workers of one engine are two containers.
            for name in ("maintainer-worker-far", "maintainer-worker-laptop"):
                assert docker_engine.remove(name), name


def test_an_image_that_is_not_there_is_named(tmp_path: Path, docker_engine: DockerEngine) -> None:
    with far_worker(tmp_path) as far:
        choice = words(docker_engine)
        choice[2] = "nowhere:1"
        far.cli.run("fleet", "add", "far", *far.words(), *choice)
        failed = far.cli.json("offload", *far.target(1), "--worker", "far", "--wait", code=4)
        assert "nowhere:1 is not on the worker" in failed["error"]["message"]
        assert "fleet image build" in failed["error"]["hint"]
