"""The containers of single places of a job: the base, the proof and the agent."""

import asyncio
import json
import os
import signal
from dataclasses import replace

from django.conf import settings

from jobs import execution
from jobs.remote.offload_runner.files.paths import AGENT, BASE
from jobs.states import Attention, JobState
from jobs.workers.container.jobs import place_runs
from jobs.workers.container.lifecycle import Found
from jobs.workers.container.spec import spec_of
from tests.container.base import ContainerTest
from tests.jobs.execution.base import until
from tests.support.git_repos import NO_HUNKS, RepoBuilder

CONFIG = """
hunks = false
[commands]
install = "true"
test = "true"
test_file = 'sh "$1"'
"""
TAP_CONFIG = """
hunks = false
[commands]
test = 'echo 1..2; for n in a b; do grep -q good $n || echo -n "not "; echo "ok - $n"; done; grep -q good a'
"""
# What the agent finds, as its answer.
AGENT_COMMAND = r"""python3 -c '
import json, os, sys
sys.stdin.read()
def writes(name):
    try:
        open(os.path.join(os.environ["OFFLOAD_ROOT"], name, "x"), "w").close()
    except OSError as error:
        return error.strerror
    return "written"
session = os.environ["OFFLOAD_SESSION"]
names = [name + session for name in ("worktrees/", "home/", "base/home/", "jobs/")] + ["caches", "repos"]
found = {name.split("/")[0]: writes(name) for name in names}
found["own"] = writes("agents/" + session)
found["HOME"] = os.environ["HOME"].split("/")[-3:-1]
found["reads"] = open(os.path.join(os.environ["OFFLOAD_WORKTREE"], "app.txt")).read()
lines = [open("/proc/%s/cmdline" % pid).read() for pid in os.listdir("/proc") if pid.isdigit()]
found["others"] = [line for line in lines if "infin" + "ity" in line]
print(json.dumps({"summary": json.dumps(found), "findings": []}))
'"""

# A fix that also tries to reach the evidence: the worktree, and what was installed there.
FIXING_AGENT = r"""sh -c 'cat >/dev/null
for place in $OFFLOAD_ROOT/worktrees/$OFFLOAD_SESSION $OFFLOAD_ROOT/jobs/$OFFLOAD_SESSION; do
  echo 0 >$place/exit && echo reached $place
done
echo good >b; echo Repaired.'"""


# An agent on its own screen: says what it can write, and waits.
SCREEN_COMMAND = r"""sh -c '
for name in $OFFLOAD_WORKTREE $OFFLOAD_ROOT/caches $OFFLOAD_ROOT/jobs/$OFFLOAD_SESSION $OFFLOAD_ROOT/repos; do
  { echo x >$name/made; } 2>/dev/null && echo "writes $name"
done
while :; do
  echo "{\"state\": \"input\"}" >$OFFLOAD_REPORTS/.new && mv $OFFLOAD_REPORTS/.new $OFFLOAD_REPORTS/1.json
  read -r line; echo "heard $line"
done'"""


class Places(ContainerTest):
    async def test_an_agent_on_its_own_screen_writes_the_worktree_and_is_answered(self) -> None:
        config = settings.OFFLOAD
        with self.settings(OFFLOAD=replace(config, values={**config.values, "agent_screen": SCREEN_COMMAND})):
            job = await self.submit("1", "open", agent="generic")
            await execution.launch(job.id)

        async def waits() -> bool:
            return (await execution.refresh(job.id)).attention == Attention.INPUT

        await until(waits, deadline=60)
        await execution.answer_agent(job.id, "send", "a word", "kim")

        async def has_heard() -> bool:
            return "heard a word" in await execution.peek(job.id)

        await until(has_heard, deadline=60)
        said = [line for line in (await execution.peek(job.id)).splitlines() if line.startswith("writes ")]
        self.assertEqual(said, [f"writes {self.root}/worktrees/{job.session}"])
        await execution.cancel(job.id, "kim")

    async def test_an_agent_reads_the_worktree_in_a_container_of_its_own(self) -> None:
        config = settings.OFFLOAD
        values = {**config.values, "agent_command": AGENT_COMMAND}
        with self.settings(OFFLOAD=replace(config, values=values)):
            job = await self.run_job("1", agent="generic")
        said = (self.root / "jobs" / job.session / "agent.json").read_text()
        self.assertEqual(job.state, JobState.SUCCEEDED, said)
        found = json.loads(json.loads(said)["summary"])
        self.assertEqual(found["worktrees"], "Read-only file system")
        self.assertEqual(found["repos"], "Read-only file system")
        for name in ("home", "base", "jobs", "caches"):
            self.assertEqual(found[name], "No such file or directory", name)
        self.assertEqual((found["own"], found["reads"]), ("written", "two\n"))
        self.assertEqual(found["HOME"], ["agents", job.session])
        self.assertEqual(found["others"], [])
        only = f"--filter=name={self.name}-{AGENT}"
        await until(lambda: asyncio.to_thread(lambda: not self.docker("ps", "-aq", only).strip()))

    async def test_an_agent_with_a_gateway_has_no_other_network(self) -> None:
        job = await self.submit("1")
        spec = spec_of({"container": self.container()}, str(self.root))
        runs = place_runs(Found("image", image_id="image", spec=spec), job, offline={AGENT})
        networks = {place: words[words.index("--network") + 1] for place, words in runs.items()}
        others = dict.fromkeys(("base", "proof", "secret", "secret-writes"), "host")
        self.assertEqual(networks, {**others, "agent": "none"})

    async def test_a_base_that_fails_is_run_once_for_its_changes(self) -> None:
        """A kept run excuses; it never blames: what it does not explain is run again."""
        files = {**NO_HUNKS, ".offload/config.toml": TAP_CONFIG, "a": "bad\n", "b": "good\n"}
        shop = RepoBuilder(self.tmp / "store").commit(files)
        for number, changed in ((1, {"c": "1\n"}), (2, {"c": "2\n"}), (3, {"b": "bad\n"})):
            shop.pull(number, changed)
        comparisons = []
        for number in (1, 2, 3):
            job = await self.run_job(str(number), repo=shop)
            found = json.loads((self.root / "jobs" / job.session / "comparison.json").read_text())
            [check] = found["checks"].values()
            comparisons.append((job.verdict, check.get("kept", False)))
        self.assertEqual([kept for _, kept in comparisons], [False, True, False])
        self.assertEqual(comparisons[0][0], comparisons[1][0])
        self.assertEqual(comparisons[2][0], "fail")

    async def test_a_killed_runner_leaves_no_container_and_the_job_goes_on(self) -> None:
        shop = RepoBuilder(self.tmp / "store").commit(
            {**NO_HUNKS, ".offload/config.toml": CONFIG, "price": "1\n"}
        )
        slow = 'grep 2 price && exit; test -f "$HOME/again" || { touch "$HOME/again"; sleep 300; }; exit 1\n'
        shop.pull(1, {"price": "2\n", "tests/test_new.sh": slow})
        job = await self.submit("1", repo=shop)
        await execution.launch(job.id)
        proof = f"{self.name}-proof-{job.session}"
        await until(lambda: asyncio.to_thread(lambda: "sleep 300" in str(self.processes(proof))))
        status = json.loads((self.root / "jobs" / job.session / "status.json").read_text())
        os.kill(int(status["pid"]), signal.SIGKILL)
        others = [f"--filter=name={self.name}-{place}" for place in (BASE, "proof")]
        await until(lambda: asyncio.to_thread(lambda: not self.docker("ps", "-aq", *others).strip()))
        await execution.refresh_worker(job.worker_id)
        await execution.launch(job.id)
        job = await execution.wait(job.id, timeout=60)
        self.assertEqual((job.state, job.verdict), (JobState.SUCCEEDED, "pass"), job.findings)

    async def test_a_fix_is_made_and_tested_in_places_apart(self) -> None:
        files = {**NO_HUNKS, ".offload/config.toml": TAP_CONFIG, "a": "good\n", "b": "good\n"}
        shop = RepoBuilder(self.tmp / "store").commit(files)
        shop.pull(1, {"b": "bad\n", "app.txt": "1\n"})
        config = settings.OFFLOAD
        values = {**config.values, "agent_command": FIXING_AGENT}
        with self.settings(OFFLOAD=replace(config, values=values)):
            job = await self.run_job("1", repo=shop, action="fix", agent="generic")
        folder = self.root / "jobs" / job.session
        logs = "".join(path.read_text() for path in sorted((folder / "tasks").glob("f*.log")))
        self.assertEqual((job.state, job.verdict, job.proof), (JobState.SUCCEEDED, "pass", True), logs)
        [made] = json.loads((folder / "rounds.json").read_text())["rounds"]
        self.assertEqual((job.judged_sha, made["parts"][0]["summary"]), (made["commit"], "Repaired."))
        self.assertEqual((self.root / "worktrees" / job.session / "b").read_text(), "good\n")
        self.assertIn("Read-only file system", logs)
        self.assertNotIn("reached", logs)
