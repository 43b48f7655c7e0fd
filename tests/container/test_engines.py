"""Other engines: Podman by its Docker-compatible words, and Podman and Docker without root over ssh."""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import execution
from jobs.states import JobState
from jobs.workers import connect
from jobs.workers.container.check import check_container
from tests.adversary import test_container as attacks
from tests.container.base import ContainerTest
from tests.container.test_jobs import begun
from tests.jobs.execution.base import until
from tests.support.far_worker import far_worker
from tests.support.other_engines import PodmanEngine, RootlessDocker
from tests.support.person import PERSON, PERSON_ID

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("podman"), reason="There is no podman on this machine."),
]


@pytest.fixture(scope="module")
def podman() -> Iterator[PodmanEngine]:
    with PodmanEngine() as engine:
        yield engine


@pytest.fixture(scope="class")
def engine_of_class(request: pytest.FixtureRequest, podman: PodmanEngine) -> None:
    """Give a test class Podman, where the others have Docker."""
    request.cls.engine = podman


class AsRoot(ContainerTest):
    async def test_a_review_a_cancel_and_a_container_made_anew(self) -> None:
        job = await self.run_job()
        self.assertEqual((job.state, job.verdict), (JobState.SUCCEEDED, "pass"))
        found = self.inspected()
        self.assertEqual(job.image, f"sha256:{found['Image']}")
        self.assertEqual((self.root / "worktrees" / job.session).stat().st_uid, 1000)
        script = f"id -u; touch /x {self.root}/bin/x; grep CapPrm /proc/self/status"
        said = self.docker("exec", "-u", "1000", self.name, "sh", "-c", script)
        self.assertEqual(said.count("Read-only file system"), 2)
        self.assertRegex(said, r"1000\n(.*\n)*CapPrm:\t0+\n")
        async with connect(self.box) as line:
            assert line.container is not None
            problems = await check_container(line.transport, line.container)
        self.assertEqual({problem.severity.value for problem in problems}, {"pass"}, problems)

        self.shop.pull(3, {"test.sh": "exit 1\n"})
        failing = await self.run_job("3")
        states = {task["id"]: task["state"] for task in failing.tasks}
        self.assertEqual(
            (states["test-base"], failing.verdict), ("succeeded", "fail"), "the base has its own"
        )

        slow = await self.slow_job()
        await until(lambda: begun(slow))
        self.assertEqual(self.inspected()["Id"], found["Id"])
        slow = await execution.cancel(slow.id, "tester")
        self.assertEqual(slow.state, JobState.CANCELLED)
        self.assertFalse([line for line in self.processes() if "sleep 300" in line])

        # The diff needs no container of jobs; one that could change itself is replaced.
        await asyncio.to_thread(self.docker, "stop", "-t", "0", self.name)
        async with connect(self.box) as line:
            self.assertIn(b"diff --git", await line.client.diff(job.session))
        self.docker("rm", "-f", "-t", "0", self.name)
        words = ("--init", "--name", self.name, "--network", "host", self.engine.image, "sleep", "infinity")
        self.docker("run", "-d", *words)
        (Path(slow.worktree) / "go").write_text("")
        await execution.resume(slow.id, "tester")
        await execution.launch(slow.id)
        slow = await execution.wait(slow.id, timeout=60)
        self.assertEqual(slow.state, JobState.SUCCEEDED)
        self.assertTrue(self.inspected()["HostConfig"]["ReadonlyRootfs"])


class Places(ContainerTest):
    """Attacks on the containers of single places, which each engine mounts in its own way."""

    test_a_task_with_a_secret_is_alone_and_only_reads = (
        attacks.SharedContainer.test_a_task_with_a_secret_is_alone_and_only_reads
    )
    test_no_later_container_of_a_job_mounts_what_its_code_put_in_place = (
        attacks.SharedContainer.test_no_later_container_of_a_job_mounts_what_its_code_put_in_place
    )
    own_log = attacks.SharedContainer.own_log
    journal_of = attacks.SharedContainer.journal_of
    _removed = attacks.SharedContainer._removed


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_without_root_behind_ssh_files_are_the_persons(kind: str) -> None:
    if kind == "docker" and not shutil.which("rootlesskit"):
        pytest.skip("There is no rootlesskit on this machine.")
    engine = PodmanEngine(rootless=True) if kind == "podman" else RootlessDocker()
    with engine, far_worker(engine.place.directory, wrap=engine.place.wrap) as far:
        root = engine.place.home / ".offload"
        words = far.words(host=f"{PERSON}@127.0.0.1:{far.sshd.port}", root=str(root))
        choice = ["--container", "--image", engine.image, "--engine", shlex.join(engine.command)]
        far.cli.run("fleet", "add", "far", *words, *choice, "--network", "host")
        job = far.cli.json("offload", *far.target(1), "--worker", "far", "--wait")["job"]
        assert (job["state"], job["verdict"]) == ("succeeded", "pass")
        far.shop.pull(4, {"test.sh": "exit 1\n"})
        failing = far.cli.json("offload", *far.target(4), "--worker", "far", "--wait", code=None)["job"]
        states = {task["id"]: task["state"] for task in failing["tasks"]}
        assert (states["test-base"], failing["verdict"]) == ("succeeded", "fail"), failing
        made = [path for part in ("jobs", "worktrees", "repos", "base") for path in (root / part).rglob("*")]
        assert any(path.name == "app.txt" for path in made)
        assert {path.lstat().st_uid for path in made} == {PERSON_ID}
        said = far.cli.run("doctor", "far").stdout
        assert "answers, without root" in said
        assert "runs, and is as it was made" in said
        user = PERSON_ID if kind == "podman" else 0
        script = "id -u; grep CapPrm /proc/self/status"
        inside = engine.run("exec", "-u", str(user), "maintainer-worker-far", "sh", "-c", script)
        assert inside.stdout == f"{user}\nCapPrm:\t0000000000000000\n"
        for number in (1, 4):
            far.cli.run("offload", "rm", *far.target(number), "--force", "--yes")
        assert not list((root / "worktrees").iterdir())
