"""Tests of a change that alter the tree which later evidence is taken in."""

from __future__ import annotations

import json
from typing import Any

from jobs.models import Job
from tests.jobs.execution.base import ExecutionTest
from tests.support.git_repos import NO_HUNKS, RepoBuilder

CONFIG = """
hunks = false
[commands]
install = "mkdir -p .venv && echo good > .venv/tool && echo built > made"
test = "sh tests/test_all.sh"
test_file = 'sh "$1"'
"""
# The change is wrong: its price is not what its test wants. Its first test run writes what makes it pass.
WRONG = """
test -d "$OFFLOAD_ROOT/base/worktrees/$OFFLOAD_SESSION/tests" && case $PWD in */base/*) exit 1;; esac
test "$(cat made .venv/tool)" = "built
good" || exit 3
test -e hidden/new && echo found >> "$OFFLOAD_ROOT/found"
grep -q right price
"""
ALTERING = """
echo right > price; rm README; mkdir -p hidden && echo x > hidden/new; chmod 000 hidden
ln -s /etc/passwd link; mkfifo pipe; rm -rf docs && ln -s /tmp docs
mv one x; mv two one; mv x two
exit 0
"""


class Evidence(ExecutionTest):
    async def run_change(self, files: dict[str, str]) -> Job:
        shop = RepoBuilder(self.tmp / "store").commit(
            {
                **NO_HUNKS,
                ".offload/config.toml": CONFIG,
                ".gitignore": ".venv\nhidden\nmade\n",
                "price": "wrong\n",
                "README": "read me\n",
                "docs/page": "page\n",
                "one/page": "1\n",
                "two/page": "2\n",
                "tests/test_all.sh": "exit 0\n",
            }
        )
        shop.pull(1, files)
        return await self.run_job("1", repo=shop)

    def read(self, job: Job, name: str) -> Any:
        return json.loads((self.root / "jobs" / job.session / name).read_text())

    async def test_the_proof_sees_the_commit_and_not_what_tests_made_of_it(self) -> None:
        files = {"tests/test_new.sh": WRONG, "tests/test_all.sh": ALTERING, "price": "still wrong\n"}
        job = await self.run_change(files)
        proof = {item["path"]: item["result"] for item in self.read(job, "proof.json")["files"]}
        self.assertEqual(proof["tests/test_new.sh"], "still_fails")
        self.assertNotEqual(job.verdict, "pass")
        told = [
            finding["message"]
            for finding in job.findings
            if "change files of the commit" in finding["message"]
        ]
        self.assertIn("README, docs/page, one/page, price, two/page.", told[0])
        self.assertFalse((self.root / "found").exists(), "ignored files are moved aside as well")
        tree = self.root / "worktrees" / job.session
        self.assertEqual((tree / "README").read_text(), "read me\n")
        self.assertFalse((tree / "docs").is_symlink())
        self.assertEqual((tree / "hidden/new").read_text(), "x\n", "what tests leave is there afterwards")

    async def test_a_test_that_repairs_the_tree_is_not_flaky(self) -> None:
        repairing = "grep -q right price && exit 0; echo right > price; exit 1\n"
        job = await self.run_change({"tests/test_all.sh": repairing, "price": "still wrong\n"})
        [check] = self.read(job, "comparison.json")["checks"].values()
        self.assertEqual([run["exit_code"] for run in check["reruns"]], [1, 1])
        self.assertEqual(job.verdict, "fail")

    async def test_a_test_that_breaks_the_base_makes_no_proof_of_another(self) -> None:
        """Each of these passes on the base and on the head; the first breaks what others look at there."""
        breaking = "case $PWD in */base/*) echo x > price; rm README docs/page; echo x > added;"
        breaking += (
            " echo 'exit 1' > tests/test_b.sh; echo 'exit 1' > tests/test_c.sh; rm tests/test_all.sh;; esac\n"
        )
        looking = (
            "grep -q wrong price && test -f README -a -f docs/page -a ! -e added -a -f tests/test_all.sh\n"
        )
        tests = {"tests/test_a.sh": breaking, "tests/test_b.sh": looking, "tests/test_c.sh": looking}
        job = await self.run_change({**tests, "tests/test_all.sh": "exit 0 #\n", "two/page": "3\n"})
        proof = {item["path"]: item["result"] for item in self.read(job, "proof.json")["files"]}
        self.assertEqual(proof, dict.fromkeys([*tests, "tests/test_all.sh"], "proves_nothing"))
        self.assertFalse(job.proof)
