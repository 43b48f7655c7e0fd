"""The ground for execution tests: a real worker on this machine, with a root of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test import TransactionTestCase

from jobs import execution
from jobs.forges.target import parse_target
from jobs.models import Job, Repository
from jobs.states import LaunchPhase
from tests.support.git_repos import NO_HUNKS, RepoBuilder
from tests.support.offload_home import worker_root

MAKEFILE = "test:\n\tsh ./test.sh\n"
PASSING = {**NO_HUNKS, "Makefile": MAKEFILE, "test.sh": "test -f app.txt\n", "app.txt": "one\n"}
DEADLINE = 60.0


class Steps:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.texts: list[str] = []

        self.phases: list[LaunchPhase] = []

    def step(self, text: str, phase: LaunchPhase) -> None:
        self.texts.append(text)
        self.phases.append(phase)


class ExecutionTest(TransactionTestCase):
    """Every test gets a repository `shop` with a passing pull request #1, and the worker `local`."""

    deadline = DEADLINE

    def setUp(self) -> None:
        self.tmp = Path(self.enterContext(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        root = self.enterContext(worker_root(self.tmp / "w", settings.OFFLOAD.default_worker_root))
        config = settings.OFFLOAD
        values = {**config.values, "worker_root": str(root), "max_jobs": 8}
        self.enterContext(self.settings(OFFLOAD=replace(config, home=self.tmp / "home", values=values)))
        self.root = root
        self.shop = RepoBuilder(self.tmp / "shop").commit(PASSING)
        self.shop.pull(1, {"app.txt": "two\n"})

    async def repository(self, repo: RepoBuilder | None = None) -> Repository:
        return await execution.resolve_repository((repo or self.shop).url, self.tmp)

    async def submit(self, target: str = "1", action: str = "review", **fields: Any) -> Job:
        request = execution.JobRequest(
            repository=await self.repository(fields.pop("repo", None)),
            target=parse_target(target),
            action=action,
            **fields,
        )
        job, _ = await execution.submit(request)
        return job

    async def run_job(self, target: str = "1", **fields: Any) -> Job:
        """Submit, launch and wait for the end."""
        job = await self.submit(target, **fields)
        await execution.launch(job.id)
        return await execution.wait(job.id, timeout=self.deadline)


async def until(what: Callable[[], Any], *, deadline: float = 20.0) -> None:
    """Wait until `what` (sync or async) is true; fail with its last answer after `deadline` seconds."""
    end = asyncio.get_running_loop().time() + deadline
    answer: Any = None
    while asyncio.get_running_loop().time() < end:
        answer = what()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} was still {answer!r} after {deadline:g} s")


__all__ = ["DEADLINE", "PASSING", "ExecutionTest", "Steps", "until"]
