"""A fix by Gemini CLI of a pull request with a conflict, a failing test and an unresolved thread."""

import json
import os
import re
import signal
import threading
from dataclasses import replace
from typing import Any
from unittest import mock

from django.conf import settings

from jobs import execution, outbox
from jobs.models import Job, Repository
from tests.jobs.execution.base import ExecutionTest, until
from tests.jobs.execution.test_fix import FILES, RIGHT, WRONG
from tests.support.git_repos import RepoBuilder, git
from tests.support.github import TOKEN, github
from tests.support.model_api import AGENT_BIN, model_api

MERGED = "# The shop.\ndef total(prices):\n    return sum(prices) + 1\n"
REPAIRED = "# The shop.\n" + RIGHT
ANSWERED = REPAIRED + "\n\nVAT = 20\n"
# The title of what is to be repaired -> what the model writes to shop.py.
WRITES = {
    "### Conflicts with the base": MERGED,
    "### 2 tests fail": REPAIRED,
    "### Unresolved thread at shop.py:1": ANSWERED,
}


class Sample(ExecutionTest):
    """Pull request #7 of acme/shop is the branch topic-7 of ada/shop."""

    def setUp(self) -> None:
        super().setUp()
        self.shop.commit(FILES)
        start = self.shop.sha("main")
        self.shop.commit({"shop.py": "# The shop.\n" + RIGHT, "news.txt": "new\n"})
        self.shop.pull(7, {"shop.py": "# A shop.\n" + WRONG}, start=start)
        self.head = self.shop.sha("refs/pull/7/head")
        upstream, self.fork = (self.shop.bare(self.tmp / f"{name}.git") for name in ("upstream", "fork"))
        git(self.fork, "update-ref", "refs/heads/topic-7", self.head)
        config = self.tmp / "gitconfig"
        for name, path in (("acme", upstream), ("ada", self.fork)):
            key = f"url.{path}.insteadOf"
            git(self.tmp, "config", "--file", str(config), key, f"https://github.test/{name}/shop")
        self.forge = self.enterContext(github())
        thread = {"id": "T7", "isResolved": False, "path": "shop.py", "line": 1, "body": "Name the VAT."}
        self.forge.add(7, headRefOid=self.head, mergeable="CONFLICTING", threads=[thread])
        self.threads = [dict(thread)]
        self.api = self.enterContext(model_api())
        self.api.answer = '{"complexity_reasoning": "It adds one.", "complexity_score": 10}'
        self.api.call = self.call
        self.asked_about_thread = threading.Event()
        self.answer_about_thread = threading.Event()
        given = {
            "GIT_CONFIG_GLOBAL": str(config),
            "GIT_TOKEN_GITHUB_TEST": TOKEN,
            "GIT_WRITE_TOKEN_GITHUB_TEST": TOKEN,
            "GEMINI_API_KEY": "planted-key-9",
            "PATH": f"{AGENT_BIN}{os.pathsep}{os.environ['PATH']}",
        }
        self.enterContext(mock.patch.dict(os.environ, given))
        current = settings.OFFLOAD
        values = {**current.values, "agent_url": self.api.url}
        values["forge_apis"] = (f"github.test={self.forge.url}",)
        self.enterContext(self.settings(OFFLOAD=replace(current, values=values)))

    async def repository(self, repo: RepoBuilder | None = None) -> Repository:
        found = await execution.resolve_repository("https://github.test/acme/shop", self.tmp)
        await execution.trust(found.id, "ada")
        return found

    def call(self, body: str) -> tuple[str, dict[str, Any]] | None:
        """Return the edit that a request asks for; None when it was made, or for a request without tools."""
        place = re.search(r"Edit the files in (\S+?/tree), a copy", body)
        if place is None or "functionDeclarations" not in body:
            return None
        [text] = [text for title, text in WRITES.items() if title in body]
        if text == ANSWERED and not self.asked_about_thread.is_set():
            self.asked_about_thread.set()
            self.answer_about_thread.wait(60)
        if '"functionResponse"' in body:
            return None
        return "write_file", {"file_path": f"{place.group(1)}/shop.py", "content": text}

    def rounds(self, job: Job) -> dict[str, Any]:
        path = self.root / "jobs" / job.session / "rounds.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def logs(self, job: Job) -> str:
        tasks = self.root / "jobs" / job.session / "tasks"
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(tasks.glob("*.log")))

    async def check(self, job: Job) -> None:
        """Check what the sample ends with."""
        said = "\n".join(finding["message"] for finding in job.findings) + self.logs(job)
        self.assertEqual((job.verdict, job.proof), ("pass", True), said)
        merged, repaired = self.rounds(job)["rounds"]
        parts = [*merged["parts"], *repaired["parts"]]
        # To the token what the API served, but for the answer that the killed runner did not get.
        served = 2 * (sum("enerateContent" in path for path, _, _ in self.api.asked) - 1)
        calls = [event.data async for event in job.events.filter(kind="model_call")]
        counted = sum(call["input"] + call["output"] for call in calls)
        self.assertEqual((counted, sum(part["tokens"] for part in parts)), (served, served), calls)
        tree = self.root / "worktrees" / job.session
        log = git(tree, "log", "--first-parent", "--format=%H %s", f"{self.head}..{job.judged_sha}")
        self.assertEqual(
            log.splitlines()[::-1],
            [
                f"{parts[0]['commit']} Merge the base, resolving conflicts in 1 file",
                f"{parts[1]['commit']} Fix test_empty and 1 more",
                f"{parts[2]['commit']} Answer the review thread at shop.py:1",
            ],
            said,
        )
        self.assertEqual(git(tree, "show", "-s", "--format=%P", parts[0]["commit"]).split()[0], self.head)
        self.assertEqual((tree / "shop.py").read_text(), ANSWERED)
        await execution.archive(job.id)
        job = await Job.objects.select_related("repository", "worker").aget(id=job.id)
        last, title = parts[2]["commit"], "Answer the review thread at shop.py:1"
        answers = "Unresolved thread at shop.py:1"
        told = f"Commit `{last}`, which is not pushed: {title}. It answers: {answers}."
        self.assertIn(told, job.assessment)
        change = (await execution.diff(job.id, limit=100_000)).decode()
        self.assertIn(f"# {last[:10]} {title}\n#     answers: {answers}\ndiff --git ", change)
        self.assertEqual(git(self.fork, "rev-parse", "refs/heads/topic-7"), self.head)
        made = await outbox.make_push(job, "ada")
        push, reply = await outbox.list_group(await outbox.get_draft(str(made.id)))
        self.assertEqual((push.kind, reply.kind, reply.payload["thread"]), ("push", "reply", "T7"))
        self.assertEqual(reply.body, f"Changed in {last}.")
        shown = await outbox.prepare_draft(reply)
        self.assertEqual(shown.title, "Answer to shop.py:1")
        self.assertIn("Name the VAT.", shown.quote)
        # A text that a person wrote is kept.
        await outbox.edit_draft(reply, "It is 20.", "ada")
        await outbox.make_push(job, "ada")
        [again] = [draft for draft in await outbox.list_drafts() if draft.kind == "reply"]
        self.assertEqual((again.id, again.body), (reply.id, "It is 20."))
        self.assertEqual(self.forge.pulls[7]["threads"], self.threads)  # nothing was posted
        self.assertEqual(git(self.fork, "rev-parse", "refs/heads/topic-7"), self.head)

    async def test_each_topic_has_its_commit_though_the_runner_is_killed_within_a_round(self) -> None:
        job = await self.submit("7", action="fix", agent="gemini")
        await execution.launch(job.id)
        await until(self.asked_about_thread.is_set, deadline=120)
        status = json.loads((self.root / "jobs" / job.session / "status.json").read_text())
        os.kill(status["pid"], signal.SIGKILL)
        self.answer_about_thread.set()
        job = await execution.wait(job.id, timeout=60)
        self.assertEqual(job.state, "interrupted")
        [part] = self.rounds(job)["parts"]
        await execution.launch(job.id)
        job = await execution.wait(job.id, timeout=120)
        self.assertEqual(self.rounds(job)["rounds"][1]["parts"][0], part)
        await self.check(job)

    async def test_a_budget_that_is_used_up_ends_the_rounds_and_says_so(self) -> None:
        current = settings.OFFLOAD
        with self.settings(OFFLOAD=replace(current, values={**current.values, "agent_tokens": 3})):
            job = await self.run_job("7", action="fix", agent="gemini")
        why = "the budget of the job is used up: 4 of 3 tokens"
        self.assertEqual((self.rounds(job)["why"], job.judged_sha), (why, job.sha), self.logs(job))
        self.assertIn(f"Nothing was repaired: {why}.", [finding["message"] for finding in job.findings])
