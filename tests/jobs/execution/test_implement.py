"""An agent implements an issue: a test that is seen to fail, then the change, judged by evidence alone."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings

from jobs import execution
from jobs.errors import UsageError
from jobs.models import Job
from jobs.serializers import shown_target
from tests.jobs.execution.base import ExecutionTest
from tests.jobs.execution.test_fix import FILES, RIGHT
from tests.support.git_repos import git
from tests.support.model_api import AGENT_BIN, model_api

TEST = """\
import unittest
import shop


class Discounts(unittest.TestCase):
    def test_half(self):
        self.assertEqual(shop.discounted([2, 4], 50), 3)
"""
DONE = RIGHT + "\n\ndef discounted(prices, percent):\n    return total(prices) * (100 - percent) / 100\n"
WRITE_TEST = f"cat >test_discount.py <<'EOF'\n{TEST}EOF\n"
IMPLEMENT = f"cat >shop.py <<'EOF'\n{DONE}EOF\n"
FIRST = "test ! -e test_discount.py"
HONEST = f"if {FIRST}; then {WRITE_TEST}\nelse {IMPLEMENT}\nfi; echo It is done."
WEAK_TEST = WRITE_TEST.replace("shop.discounted([2, 4], 50), 3", "1, 1")
RUNNER = "print('test_half (test_discount.Discounts.test_half) ... ok\\n\\nRan 1 test in 0.001s\\n\\nOK')"
# What an agent does in place of an implementation, and what is said of it.
CHEATS = (
    ("rm test_discount.py", "was to pass, and does not run any more"),
    (WEAK_TEST, "passes only because the implementation changes test_discount.py"),
    ("printf 'test:\\n\\ttrue\\n' >Makefile", "The implementation changes tests or how they run: Makefile"),
    (f"cat >unittest.py <<'EOF'\n{RUNNER}\nEOF\n", "changes tests or how they run: unittest.py"),
)
GO_TEST = """\
package shop

import "testing"

func Test%s(t *testing.T) {
	if %s {
		t.Fatal("it is not so")
	}
}
"""
PROMPT = "Discounts\n\nshop.discounted(prices, percent) returns the total less a discount."


class Implementation(ExecutionTest):
    """A repository whose issue #45 asks for discounts."""

    deadline = 200.0  # two starts of an agent, and every test three times

    def setUp(self) -> None:
        super().setUp()
        self.shop.commit(FILES)
        self.agent = self.tmp / "agent.sh"

    async def implement(self, lines: str, *, target: str = "45", **fields: Any) -> Job:
        self.agent.write_text(f"cat >>{self.tmp}/asked\n{lines}\n")
        config = settings.OFFLOAD
        values = {**config.values, "agent_command": f"sh {self.agent}"}
        fields = {"agent": "generic", "prompt": PROMPT, **fields}
        with self.settings(OFFLOAD=replace(config, values=values)):
            return await self.run_job(target, action="implement", **fields)

    def folder(self, job: Job) -> Path:
        return self.root / "jobs" / job.session

    def rounds(self, job: Job) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder(job) / "rounds.json").read_text())
        return found

    def said(self, job: Job) -> str:
        """Return the findings, and the logs for the reader of a failure."""
        findings = "\n".join(f"{one['severity']}: {one['message']}" for one in job.findings)
        logs = sorted((self.folder(job) / "tasks").glob("*.log"))
        return findings + "\n" + "\n".join(f"== {path.name}\n{path.read_text()}" for path in logs)

    def findings(self, job: Job) -> str:
        return self.said(job).partition("\n==")[0]


class Implements(Implementation):
    async def test_the_test_is_seen_to_fail_before_the_change_and_to_pass_after_it(self) -> None:
        base = self.shop.sha("main")
        job = await self.implement(HONEST)
        self.assertEqual((job.verdict, job.proof), ("pass", True), self.said(job))
        self.assertEqual((job.number, job.target, job.sha, shown_target(job)), (None, "#45", base, "45"))
        first, second = self.rounds(job)["rounds"]
        self.assertEqual(self.rounds(job)["tests_at"], first["commit"])
        self.assertEqual(job.judged_sha, second["commit"])
        tree = self.root / "worktrees" / job.session
        self.assertEqual(git(tree, "symbolic-ref", "HEAD"), "refs/heads/offload/45-discounts")
        self.assertEqual(
            git(tree, "log", "--format=%s", f"{base}..HEAD").splitlines(),
            ["Implement #45 Discounts", "Add a failing test for #45 Discounts"],
        )
        self.assertEqual(git(tree, "show", "--format=", "--name-only", first["commit"]), "test_discount.py")
        self.assertEqual(git(tree, "status", "--porcelain", "--untracked-files=no"), "")
        self.assertIn("Implemented, for it failed before and passes after: ", self.findings(job))
        asked = (self.tmp / "asked").read_text()
        self.assertIn("Write the test, and only that", asked)
        self.assertIn("returns the total less a discount", asked)
        self.assertIn("The test is there, and was seen to fail: ", asked)
        await execution.archive(job.id)
        job = await Job.objects.aget(id=job.id)
        self.assertIn("## The implementation", job.assessment)

    async def test_what_an_agent_implements_before_its_test_is_left_out(self) -> None:
        job = await self.implement(f"{WRITE_TEST}\n{IMPLEMENT}", rounds=2)
        self.assertEqual((job.verdict, job.proof), ("pass", True), self.said(job))
        first, _ = self.rounds(job)["rounds"]
        self.assertIn("left out: shop.py", self.said(job))
        self.assertEqual(
            git(self.root / "worktrees" / job.session, "show", f"{first['commit']}:shop.py"), RIGHT.strip()
        )

    async def test_a_test_that_passes_already_proves_nothing(self) -> None:
        job = await self.implement(
            f"if {FIRST}; then {WEAK_TEST}\nelse {IMPLEMENT}\nfi; echo All is proven.", rounds=2
        )
        self.assertEqual((job.verdict, job.proof), ("fail", False), self.said(job))
        self.assertIn("error: No test of the agent fails without an implementation", self.findings(job))
        self.assertNotIn("Implemented", self.findings(job))

    async def test_an_agent_that_only_claims_success_is_caught(self) -> None:
        job = await self.implement("echo I implemented it and all tests pass.")
        self.assertEqual((job.verdict, job.judged_sha), ("fail", job.sha), self.said(job))
        self.assertIn("error: Nothing was implemented: the agent changed nothing.", self.findings(job))
        no_test = await self.implement(IMPLEMENT, target="46")
        self.assertIn(
            "Nothing was implemented: the agent wrote no test; it changed shop.py.", self.findings(no_test)
        )

    async def test_an_agent_that_deletes_its_test_or_weakens_it_is_caught(self) -> None:
        for number, (cheat, told) in enumerate(CHEATS, 1):
            with self.subTest(cheat=told):
                lines = f"if {FIRST}; then {WRITE_TEST}\nelse {cheat}\nfi; echo All tests pass now."
                job = await self.implement(lines, target=str(number), rounds=2)
                self.assertIn(told, self.findings(job), self.said(job))
                self.assertEqual(job.verdict, "fail", self.said(job))

    async def test_a_test_that_cannot_be_loaded_yet_counts_as_one_that_fails(self) -> None:
        early = TEST.replace("import shop\n", "from shop import discounted\n").replace("shop.disc", "disc")
        write = WRITE_TEST.replace(TEST, early)
        job = await self.implement(f"if {FIRST}; then {write}\nelse {IMPLEMENT}\nfi")
        self.assertEqual((job.verdict, job.proof), ("pass", True), self.said(job))
        cheat = (
            "printf 'from shop import total as discounted\n' >test_discount.py; echo 'discounted=0' >>shop.py"
        )
        job = await self.implement(f"if {FIRST}; then {write}\nelse {cheat}\nfi", target="46", rounds=2)
        self.assertEqual((job.verdict, job.proof), ("fail", False), self.said(job))

    async def test_a_test_that_does_not_compile_yet_is_seen_by_its_command(self) -> None:
        total = "package shop\n\nfunc Total(a, b int) int { return a + b }\n"
        half = total + "\nfunc Half(a int) int { return a / 2 }\n"
        self.shop.commit({
            **dict.fromkeys(("Makefile", "shop.py", "test_shop.py")), "shop.go": total,
            "go.mod": "module shop\n\ngo 1.18\n", "shop_test.go": GO_TEST % ("Total", "Total(1, 2) != 3"),
        })  # fmt: skip
        write = f"cat >half_test.go <<'EOF'\n{GO_TEST % ('Half', 'Half(4) != 2')}EOF\n"
        first = "test ! -e half_test.go"
        job = await self.implement(f"if {first}; then {write}\nelse cat >shop.go <<'EOF'\n{half}EOF\nfi")
        self.assertEqual((job.verdict, job.proof), ("pass", True), self.said(job))
        cheat = f"rm half_test.go; cat >done_test.go <<'EOF'\n{GO_TEST % ('Done', 'false')}EOF\n"
        job = await self.implement(f"if {first}; then {write}\nelse {cheat}\nfi", target="46", rounds=2)
        self.assertEqual((job.verdict, job.proof), ("fail", False), self.said(job))
        self.assertIn("test succeeds only because the implementation changes", self.findings(job))

    async def test_rounds_go_on_until_the_test_passes(self) -> None:
        half = IMPLEMENT.replace("(100 - percent) / 100", "percent")
        again = f"elif grep -q discounted shop.py; then {IMPLEMENT}\nelse {half}\nfi"
        lines = f"if {FIRST}; then {WRITE_TEST}\n{again}"
        job = await self.implement(lines)
        self.assertEqual((job.verdict, len(self.rounds(job)["rounds"])), ("pass", 3), self.said(job))
        stopped = await self.implement(lines, target="46", rounds=2)
        self.assertEqual(stopped.verdict, "fail", self.said(stopped))

    async def test_what_it_needs_is_said_before_anything_runs(self) -> None:
        for fields, told in (
            ({"target": "main"}, "main is no issue"),
            ({"agent": ""}, "needs an agent"),
            ({"agent": "opencode"}, "opencode only reviews"),
            ({"prompt": ""}, "The text of #45 cannot be read"),
        ):
            with self.subTest(told), self.assertRaisesRegex(UsageError, told):
                await self.implement(HONEST, **fields)


class RealAgents(Implementation):
    async def test_gemini_writes_a_test_first_and_then_the_change_and_nothing_elsewhere(self) -> None:
        # In test_fix, Claude Code and Codex edit the tree by the same call.
        used: list[str] = []

        def call(body: str) -> tuple[str, dict[str, Any]] | None:
            place = re.search(r"Edit the files in (\S+?/tree), a copy", body)
            # It also asks how hard the task is, for its choice of a model, without tools.
            if place is None or "functionDeclarations" not in body:
                return None
            tree = place.group(1)
            is_first = "Write the test, and only that" in body
            name, text = ("test_discount.py", TEST) if is_first else ("shop.py", DONE)
            evil = f"{self.root}/worktrees/{tree.split('/')[-2]}/evil" if is_first else f"{self.tmp}/evil"
            for path in (evil, f"{tree}/{name}"):
                if path not in used:
                    used.append(path)
                    return "write_file", {"file_path": path, "content": text}
            return None

        api = self.enterContext(model_api())
        api.call = call
        api.answer = '{"complexity_reasoning": "It adds one.", "complexity_score": 10}'
        path = f"{AGENT_BIN}{os.pathsep}{os.environ['PATH']}"
        self.enterContext(mock.patch.dict(os.environ, {"PATH": path, "GEMINI_API_KEY": "planted-key-9"}))
        config = settings.OFFLOAD
        self.enterContext(
            self.settings(OFFLOAD=replace(config, values={**config.values, "agent_url": api.url}))
        )
        job = await self.run_job("45", action="implement", agent="gemini", prompt=PROMPT)
        self.assertEqual((job.verdict, job.proof), ("pass", True), self.said(job))
        self.assertEqual([path.name for path in self.tmp.rglob("evil*")], [])
        self.assertEqual(len(used), 4)
        self.assertEqual([one["parts"][0]["summary"] for one in self.rounds(job)["rounds"]], [api.answer] * 2)
        called = [event.data async for event in job.events.filter(kind="model_call")]
        self.assertEqual({one["task"] for one in called}, {"fix-1", "fix-2"})
