"""`ready` with what the forge says: a real job, a strict GitHub, a real git server."""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings

from jobs import execution
from jobs.execution.archive import archive_dir
from jobs.forges.target import parse_target
from jobs.models import Job, PullRequest, Repository
from tests.jobs.execution.base import DEADLINE, PASSING, ExecutionTest
from tests.support.git_https import git_https
from tests.support.git_repos import RepoBuilder
from tests.support.github import TOKEN, github

GIT_TOKEN = "planted-token-4f81d07b"
ACTIONS = {"app": {"slug": "github-actions"}, "workflowRun": {"workflow": {"name": "CI"}}}
FAILED = {
    "__typename": "CheckRun", "name": "test", "status": "COMPLETED", "conclusion": "FAILURE",
    "detailsUrl": "https://ci.test/1", "required": True, "databaseId": 41, "checkSuite": ACTIONS,
}  # fmt: skip
LOG = (
    b"2026-11-27T10:00:05.1234567Z ##[group]Run make test\n"
    b"2026-11-27T10:00:05.1234567Z FAILED test_a.py::test_`x` - no\n"
    b"2026-11-27T10:00:05.1234567Z ##[error]Process completed with exit code 1.\n"
)
THREAD = {
    "id": "T1",
    "isResolved": False,
    "path": "app.txt",
    "line": 1,
    "body": "`` Why?</b>\x1b[2J\n# Ignore",
}


class Ready(ExecutionTest):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.enterContext(git_https(self.tmp / "server", GIT_TOKEN))
        self.forge = self.enterContext(github())
        source = RepoBuilder(self.tmp / "source").commit(PASSING)
        source.pull(1, {"app.txt": "two\n"})
        self.head = source.sha("refs/pull/1/head")
        place = str(self.server.projects / "acme/shop.git")
        subprocess.run(["git", "clone", "--quiet", "--mirror", source.url, place], check=True)
        values = {**settings.OFFLOAD.values, "forge_apis": (f"127.0.0.1={self.forge.url}",)}
        self.enterContext(self.settings(OFFLOAD=replace(settings.OFFLOAD, values=values)))
        environment = {
            "GIT_SSL_CAINFO": str(self.server.certificate), "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1",
            "GIT_TOKEN_127_0_0_1": TOKEN, f"GIT_TOKEN_127_0_0_1__3A{self.server.port}": GIT_TOKEN,
        }  # fmt: skip
        self.enterContext(mock.patch.dict(os.environ, environment))

    async def ready(self) -> tuple[Job, Mapping[str, Any]]:
        repository = await execution.resolve_repository(self.server.url("acme/shop.git"), self.tmp)
        await Repository.objects.filter(id=repository.id).aupdate(forge="github")
        await execution.trust(repository.id, "a user")
        await repository.arefresh_from_db()
        request = execution.JobRequest(repository, parse_target("1"), action="ready")
        job, _ = await execution.submit(request)
        await execution.launch(job.id)
        job = await execution.wait(job.id, timeout=DEADLINE)
        await execution.archive(job.id)
        await job.arefresh_from_db()
        text = await asyncio.to_thread(Path(archive_dir(job.id), "assessment.json").read_text)
        return job, json.loads(text)

    async def test_what_blocks_on_the_forge_is_in_the_verdict_with_time_and_head(self) -> None:
        self.forge.add(
            1, headRefOid=self.head, checks=[FAILED], threads=[THREAD], reviewDecision="REVIEW_REQUIRED"
        )
        self.forge.logs = {41: ([], LOG)}
        self.forge.unknown_mergeability = 1  # and it is asked again
        job, assessment = await self.ready()
        self.assertEqual(job.verdict, "needs_work", job.assessment)
        told = [finding["message"] for finding in assessment["findings"]]
        for text in ("required check test failed", "required review is missing", "1 thread is not resolved"):
            self.assertTrue(any(text in one for one in told), (text, told))
        self.assertNotIn("has not computed", job.assessment)
        facts = assessment["forge"]
        self.assertEqual(
            (facts["head_sha"], facts["failed"][0]["tests"]), (self.head, ["test_a.py::test_`x`"])
        )
        self.assertIn(f"As read at {facts['read_at']}, of the head `{self.head}`", job.assessment)
        self.assertIn("  - failing: `` test_a.py::test_`x` ``", job.assessment)
        self.assertNotIn("\x1b", job.assessment)
        self.assertNotIn("\n# Ignore", job.assessment)
        for path in self.root.rglob("*"):
            if path.is_file():
                self.assertNotIn(TOKEN.encode(), path.read_bytes(), path)

    async def test_a_moved_head_and_a_forge_that_refuses_are_said(self) -> None:
        self.forge.add(1)  # its head is another commit
        job, assessment = await self.ready()
        self.assertEqual(job.verdict, "needs_work")
        self.assertIn("The forge has the head 1111111111", assessment["findings"][0]["message"])
        await execution.remove(job.id, force=True)
        await PullRequest.objects.all().adelete()
        self.forge.graphql_error = "No"
        job, assessment = await self.ready()
        self.assertEqual((job.verdict, assessment["forge"]["failed_to_read"]), ("needs_work", True))
        self.assertIn("Not looked at: Reading acme/shop#1 failed", job.assessment)
