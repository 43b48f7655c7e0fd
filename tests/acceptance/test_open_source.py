"""Reviews of real releases of real projects: the right tests run, and the verdict is the known one."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.playbooks import registry
from jobs.playbooks.base import Context, RepositoryFacts
from jobs.remote.client import RunnerClient
from jobs.remote.layout import Layout, session_name, socket_for_root
from jobs.transport.local import LocalTransport
from tests.support.git_repos import RepoBuilder
from tests.support.offload_home import worker_root
from tests.support.open_source import Release, broken, repository

DEADLINE = 240.0  # seconds for one review, packages fetched
pytestmark = pytest.mark.timeout(2 * DEADLINE)


@dataclass(frozen=True)
class Review:
    """What a review left behind."""

    session: str
    job_dir: Path
    states: dict[str, str]
    verdict: str
    findings: list[dict[str, Any]]

    def log(self, task: str) -> str:
        return (self.job_dir / "tasks" / f"{task}.log").read_text(errors="replace")

    @property
    def ran(self) -> set[str]:
        """The tasks that came from the repository, and that were not skipped."""
        own = {"context", "conflicts", "base", "test-base", "hunks", "synthesis"}
        return {task for task, state in self.states.items() if state != "skipped"} - own

    @property
    def proof(self) -> dict[str, str]:
        answer = json.loads((self.job_dir / "proof.json").read_text())
        return {item["path"]: item["result"] for item in answer["files"]}

    @property
    def told(self) -> str:
        """Everything that helps to understand a surprise."""
        failed = [task for task, state in self.states.items() if state == "failed"]
        logs = "\n".join(f"--- {task}\n{self.log(task)[-3000:]}" for task in failed)
        return f"{self.verdict} {self.states}\n{json.dumps(self.findings, indent=1)}\n{logs}"


class Worker:
    """This machine as a worker, driven as `jobs.execution` drives it, without a database."""

    def __init__(self, root: Path) -> None:
        # The interpreter behind the virtual environment of these tests, as for the worker `local`.
        python = getattr(sys, "_base_executable", sys.executable)
        self.layout = Layout(root=str(root), tmux_socket=socket_for_root(str(root), ""), python=python)
        self.client = RunnerClient(LocalTransport(), self.layout)

    async def review(self, repo: RepoBuilder, number: int = 1) -> Review:
        session = session_name(repo.path.name, str(number), "review")
        prepared = await self.client.prepare(
            {
                "session": session,
                "repository": {"slug": repo.path.name, "url": repo.url},
                "head": {"ref": f"refs/pull/{number}/head"},
                "base": {"ref": ""},
                "needs_base": True,
                "fresh": False,
            }
        )
        assert prepared["sha"] == repo.sha(f"refs/pull/{number}/head")
        plan = registry.get("review").plan(
            Context(
                session=session,
                repository=repo.path.name,
                target=f"#{number}",
                number=number,
                sha=prepared["sha"],
                base_sha=prepared["base_sha"],
                base_ref=prepared["base_ref"],
                merge_base=prepared["merge_base"],
                facts=RepositoryFacts.from_json(prepared["facts"]),
            )
        )
        await self.client.start(session, plan, cwd=prepared["worktree"])
        finished = await self._finished(session)
        job_dir = Path(self.layout.job_dir(session))
        return Review(session, job_dir, self.states, finished["verdict"], finished["findings"])

    async def _finished(self, session: str) -> dict[str, Any]:
        self.states: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE):
            async for line in self.client.follow({}):
                event = line.get("event", {})
                if line.get("session") != session:
                    continue
                if event.get("kind") == "task_finished":
                    self.states[event["task"]] = event["state"]
                if event.get("kind") == "finished":
                    return dict(event)
        raise AssertionError("following ended without an end")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for all, so that what one review installed is in the caches of the next."""
    with worker_root(tmp_path_factory.mktemp("worker"), "") as root:
        yield Worker(root)


def pypi(path: Path, name: str, base: str, head: str) -> RepoBuilder:
    return repository(path / name, Release("pypi", name, base), Release("pypi", name, head))


def npm(path: Path, name: str, base: str, head: str) -> RepoBuilder:
    return repository(path / name, Release("npm", name, base), Release("npm", name, head))


async def test_humanize(worker: Worker, tmp_path: Path) -> None:
    """pytest, an extra for the tests, and ruff. Two changed test files need the new code, one does not."""
    review = await worker.review(pypi(tmp_path, "humanize", "4.9.0", "4.10.0"))
    assert review.ran == {"install", "test", "lint-ruff", "proof"}, review.told
    assert review.proof == {
        "tests/test_i18n.py": "proves_nothing",
        "tests/test_number.py": "proof",
        "tests/test_time.py": "proof",
    }, review.told
    assert review.verdict == "pass", review.told


async def test_shell_quote(worker: Worker, tmp_path: Path) -> None:
    """npm and tape. 1.7.3 fixes a command injection, with the test that shows it."""
    repo = npm(tmp_path, "shell-quote", "1.7.2", "1.7.3")
    review = await worker.review(repo)
    assert review.ran == {"install", "test", "proof"}, review.told
    assert review.proof == {"test/quote.js": "proof"}, review.told
    assert review.verdict == "pass", review.told

    unfixed = (tmp_path / "shell-quote/index.js").read_text()
    review = await worker.review(broken(repo, 2, {"index.js": unfixed}), 2)
    assert review.states["test"] == "failed", review.told
    assert review.proof == {"test/quote.js": "still_fails"}, review.told
    assert review.verdict == "fail", review.told
