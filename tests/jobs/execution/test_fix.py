"""An agent repairs a change: a scripted one, real commits, and a verdict by evidence alone."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings

from jobs import execution
from jobs.errors import UsageError
from jobs.models import Job
from jobs.serializers import job_json
from tests.jobs.execution.base import ExecutionTest, until
from tests.support.git_repos import NO_HUNKS, git
from tests.support.model_api import model_api

SUPPORT = Path(__file__).parents[2] / "support"
Calls = list[tuple[str, dict[str, Any]]]
TEST = """\
import unittest
from shop import total


class Totals(unittest.TestCase):
    def test_sum(self):
        self.assertEqual(total([1, 2]), 3)

    def test_empty(self):
        self.assertEqual(total([]), 0)
"""
RIGHT = "def total(prices):\n    return sum(prices)\n"
WRONG = "def total(prices):\n    return sum(prices) + 1\n"
MAKEFILE = f"test:\n\t{sys.executable} -m unittest -v\n"
FILES = {**NO_HUNKS, "Makefile": MAKEFILE, "shop.py": RIGHT, "test_shop.py": TEST}
# What each scripted agent does: shell lines, in the tree that it may edit.
FIXES = "printf 'def total(prices):\\n    return sum(prices)\\n' >shop.py; echo I used sum alone."
WEAKENS = "printf 'import unittest\\n' >test_shop.py; echo All tests pass now, I promise."
SETTINGS = "printf 'test:\\n\\ttrue\\n' >Makefile; echo Done."
HALF = "printf 'def total(prices):\\n    return sum(prices) or 1\\n' >shop.py"


class FixTest(ExecutionTest):
    def setUp(self) -> None:
        super().setUp()
        self.shop.commit(FILES)
        self.shop.pull(2, {"shop.py": WRONG})
        self.agent = self.tmp / "agent.sh"

    def script(self, lines: str) -> None:
        self.agent.write_text(f"cat >>{self.tmp}/asked\n{lines}\n")
        config = settings.OFFLOAD
        values = {**config.values, "agent_command": f"sh {self.agent}"}
        self.enterContext(self.settings(OFFLOAD=replace(config, values=values)))

    async def fix(self, lines: str, **fields: Any) -> Job:
        self.script(lines)
        return await self.run_job("2", action="fix", agent="generic", **fields)

    async def fix_again(self, target: str, lines: str) -> Job:
        self.script(lines)
        return await self.run_job(target, action="fix", agent="generic", name="again")

    def states(self, job: Job) -> dict[str, str]:
        return {task["id"]: task["state"] for task in job.tasks}

    def logs(self, job: Job) -> str:
        tasks = self.folder(job) / "tasks"
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(tasks.glob("*.log")))

    def folder(self, job: Job) -> Path:
        return self.root / "jobs" / job.session

    def rounds(self, job: Job) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder(job) / "rounds.json").read_text())
        return found

    def messages(self, job: Job) -> str:
        return "\n".join(f"{finding['severity']}: {finding['message']}" for finding in job.findings)


class Fixes(FixTest):
    async def test_a_failing_test_is_repaired_and_the_verdict_is_about_the_commit_of_the_fix(self) -> None:
        hook = "#!/bin/sh\ntouch $OFFLOAD_ROOT/../hooked\n"
        job = await self.fix(
            f"mkdir -p .git/hooks; printf '{hook}' >.git/hooks/pre-commit; chmod +x .git/hooks/*; {FIXES}"
        )
        states = self.states(job)
        self.assertEqual((states["fix-1"], states["fixed-1"]), ("succeeded", "succeeded"), self.logs(job))
        self.assertEqual({states["fix-2"], states["fixed-3"]}, {"skipped"})
        self.assertEqual((job.verdict, job.proof), ("pass", True), self.messages(job) + self.logs(job))
        self.assertIn("Repaired, for it failed before and passes after: ", self.messages(job))
        head = self.shop.sha("refs/pull/2/head")
        self.assertEqual(job.sha, head)
        [made] = self.rounds(job)["rounds"]
        self.assertEqual(job.judged_sha, made["commit"])
        self.assertEqual(job_json(job)["judged_sha"], made["commit"])
        tree = self.root / "worktrees" / job.session
        self.assertEqual((tree / "shop.py").read_text(), RIGHT)
        self.assertEqual(git(tree, "rev-parse", "HEAD"), made["commit"])
        self.assertEqual(git(tree, "status", "--porcelain", "--untracked-files=no"), "")
        said = git(tree, "log", "-1", "--format=%an <%ae>%n%s%n%b")
        self.assertTrue(said.startswith("Offload <offload@localhost>\nFix test_empty and 1 more\n"), said)
        self.assertFalse((self.tmp / "hooked").exists())
        asked = (self.tmp / "asked").read_text()
        self.assertIn("AssertionError: 4 != 3", asked)
        await execution.archive(job.id)
        job = await Job.objects.aget(id=job.id)
        for text in (
            head,
            made["commit"],
            "which is not pushed",
            "(an opinion, not evidence): I used sum alone.",
        ):
            self.assertIn(text, job.assessment)
        self.assertEqual(git(self.shop.path, "for-each-ref", "--contains", head, "refs/pull/2"),
                         f"{head} commit\trefs/pull/2/head")  # fmt: skip

    async def test_an_agent_that_takes_the_tests_away_is_caught(self) -> None:
        job = await self.fix(WEAKENS, rounds=1)
        self.assertEqual((job.verdict, job.proof), ("fail", False), self.logs(job))
        said = self.messages(job)
        self.assertIn("was to be repaired, and does not run any more", said)
        self.assertIn("warning: The fix removes 2 tests: test_sum, test_empty.", said)
        self.assertNotIn("The change removes", said)
        self.assertNotIn("Repaired", said)
        self.assertIn("1 round was made, which is the limit", self.rounds(job)["why"])

    async def test_an_agent_that_changes_how_tests_run_is_caught(self) -> None:
        job = await self.fix(SETTINGS, rounds=2)
        self.assertEqual(job.verdict, "fail", self.messages(job) + self.logs(job))
        self.assertNotIn("Repaired", self.messages(job))
        # It was told what its first round left, and then changed nothing more.
        self.assertEqual(self.states(job)["fixed-2"], "skipped")
        self.assertIn("What the last round left", (self.tmp / "asked").read_text())
        self.assertIn("the agent changed nothing", self.rounds(job)["why"])

    async def test_an_agent_that_changes_nothing_ends_it(self) -> None:
        job = await self.fix("echo All is repaired.; exit 0")
        self.assertEqual((job.verdict, job.judged_sha), ("fail", job.sha), self.logs(job))
        self.assertIn("warning: Nothing was repaired: the agent changed nothing.", self.messages(job))
        self.assertEqual(self.states(job)["fixed-1"], "skipped")
        other = await self.fix("exit 3", name="broken")
        self.assertIn("Nothing was repaired: the agent did not come to an end.", self.messages(other))

    async def test_rounds_go_on_until_nothing_is_left(self) -> None:
        job = await self.fix(f"if grep -q 'or 1' shop.py; then {FIXES}; else {HALF}; fi")
        first, second = self.rounds(job)["rounds"]
        self.assertEqual((len(first["left"]), second["left"]), (1, []), self.logs(job))
        self.assertEqual((job.verdict, job.judged_sha), ("pass", second["commit"]), self.messages(job))
        self.assertEqual(git(self.root / "worktrees" / job.session, "rev-parse", "HEAD~2"), job.sha)

    async def test_a_change_that_needs_no_repair_calls_no_agent(self) -> None:
        self.shop.pull(3, {"shop.py": RIGHT + "\n"})
        self.script("exit 9")
        job = await self.run_job("3", action="fix", agent="generic")
        self.assertEqual((job.verdict, job.judged_sha), ("pass", job.sha), self.messages(job))
        self.assertFalse((self.tmp / "asked").exists())
        with self.assertRaisesRegex(UsageError, "opencode only reviews"):
            await self.submit("3", action="fix", name="other", agent="opencode")

    async def test_conflicts_are_resolved_in_a_merge_of_their_own_before_the_rest(self) -> None:
        start = self.shop.sha("main")
        self.shop.commit({"shop.py": "# The shop.\n" + RIGHT, "news.txt": "new\n"})
        self.shop.pull(5, {"shop.py": "# A shop.\n" + WRONG}, start=start)
        merge = "printf '# The shop.\\ndef total(prices):\\n    return sum(prices) + 1\\n' >shop.py"
        self.script(f"if grep -q '<<<<<<<' shop.py; then {merge}; else {FIXES}; fi")
        job = await self.run_job("5", action="fix", agent="generic")
        self.assertEqual(job.verdict, "pass", self.messages(job) + self.logs(job))
        merged, fixed = self.rounds(job)["rounds"]
        tree = self.root / "worktrees" / job.session
        parents = git(tree, "log", "-1", "--format=%P", merged["commit"]).split()
        self.assertEqual(parents, [job.sha, self.shop.sha("main")])
        self.assertEqual(merged["parts"][0]["subject"], "Merge the base, resolving conflicts in 1 file")
        self.assertEqual(job.judged_sha, fixed["commit"])
        self.assertEqual((tree / "news.txt").read_text(), "new\n")
        careless = await self.fix_again("5", "sed -i s/sum/max/ shop.py")
        self.assertIn("not taken: conflict markers are left in shop.py", self.messages(careless))

    async def test_a_killed_runner_goes_on_with_the_round_that_it_was_in(self) -> None:
        self.script(f"test -e {self.tmp}/again && {{ {FIXES}; exit 0; }}; touch {self.tmp}/again; sleep 600")
        job = await self.submit("2", action="fix", agent="generic")
        await execution.launch(job.id)
        await until(lambda: (self.tmp / "again").exists())
        status = json.loads((self.folder(job) / "status.json").read_text())
        os.kill(status["pid"], signal.SIGKILL)
        job = await execution.wait(job.id, timeout=60)
        self.assertEqual(job.state, "interrupted")
        await execution.launch(job.id)
        job = await execution.wait(job.id, timeout=60)
        self.assertEqual((job.verdict, len(self.rounds(job)["rounds"])), ("pass", 1), self.logs(job))


class RealAgents(FixTest):
    """The real Gemini CLI, Claude Code and Codex, with a model of the test's own."""

    def setUp(self) -> None:
        super().setUp()
        self.api = self.enterContext(model_api())
        places = [str(SUPPORT / name / "node_modules" / ".bin") for name in ("agents", "gemini")]
        path = os.pathsep.join([*places, os.environ["PATH"]])
        keys = dict.fromkeys(("GEMINI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"), "planted-key-9")
        self.enterContext(mock.patch.dict(os.environ, {"PATH": path, **keys}))
        config = settings.OFFLOAD
        values = {**config.values, "agent_url": self.api.url}
        self.enterContext(self.settings(OFFLOAD=replace(config, values=values)))

    async def repaired_by(self, agent: str, calls: Callable[[str], Calls]) -> Job:
        """Return a fix by an agent whose model makes these calls, given the path of its tree."""
        done: list[str] = []

        def call(body: str) -> tuple[str, dict[str, Any]] | None:
            place = re.search(r"Edit the files in (\S+?/tree), a copy", body)
            # Gemini CLI also asks how hard the task is, for its choice of a model, without tools.
            if place is None or (agent == "gemini" and "functionDeclarations" not in body):
                return None
            known = calls(place.group(1))
            if len(done) == len(known):
                return None
            done.append(known[len(done)][0])
            return known[len(done) - 1]

        self.api.call = call
        self.api.answer = '{"complexity_reasoning": "It adds one.", "complexity_score": 10}'
        job = await self.run_job("2", action="fix", agent=agent)
        self.assertEqual((job.verdict, job.proof), ("pass", True), self.messages(job) + self.logs(job))
        self.assertEqual([path.name for path in self.tmp.rglob("evil*")], [])
        [made] = self.rounds(job)["rounds"]
        self.assertEqual(made["parts"][0]["summary"], self.api.answer)
        return job

    async def test_gemini_edits_the_tree_of_the_fix_and_nothing_else(self) -> None:
        def calls(tree: str) -> Calls:
            session = tree.split("/")[-2]
            repair = {"old_string": "sum(prices) + 1", "new_string": "sum(prices)", "instruction": "Sum."}
            return [
                ("run_shell_command", {"command": f"touch {self.tmp}/evil-1", "description": "look"}),
                ("write_file", {"file_path": f"{self.tmp}/evil-2", "content": "x"}),
                ("write_file", {"file_path": f"{self.root}/worktrees/{session}/evil-3", "content": "x"}),
                ("replace", {"file_path": f"{tree}/shop.py", **repair}),
            ]

        job = await self.repaired_by("gemini", calls)
        called = [event.data async for event in job.events.filter(kind="model_call")]
        self.assertEqual({call["task"] for call in called}, {"fix-1"})
        agent = (await execution.read_account(job)).agent
        self.assertEqual(agent.value if agent else "", "done")

    async def test_claude_edits_the_tree_of_the_fix_and_nothing_else(self) -> None:
        def calls(tree: str) -> Calls:
            session = tree.split("/")[-2]
            repair = {"old_string": "sum(prices) + 1", "new_string": "sum(prices)"}
            return [
                ("Bash", {"command": f"touch {self.tmp}/evil-1", "description": "look"}),
                ("Write", {"file_path": f"{self.tmp}/evil-2", "content": "x"}),
                ("Write", {"file_path": f"{self.root}/worktrees/{session}/evil-3", "content": "x"}),
                ("Read", {"file_path": f"{tree}/shop.py"}),
                ("Edit", {"file_path": f"{tree}/shop.py", **repair}),
            ]

        await self.repaired_by("claude", calls)
        self.assertEqual(self.api.wrong, [])

    async def test_codex_writes_to_the_tree_of_the_fix_and_nowhere_else(self) -> None:
        def calls(tree: str) -> Calls:
            session = tree.split("/")[-2]
            return [
                ("exec_command", {"cmd": f"touch {self.tmp}/evil-1"}),
                ("exec_command", {"cmd": f"touch {self.root}/worktrees/{session}/evil-2"}),
                ("exec_command", {"cmd": f"sed -i 's/ + 1//' {tree}/shop.py"}),
            ]

        config = settings.OFFLOAD
        values = {**config.values, "agent_model": "gpt-5.2-codex"}
        with self.settings(OFFLOAD=replace(config, values=values)):
            await self.repaired_by("codex", calls)
        self.assertEqual(self.api.wrong, [])
