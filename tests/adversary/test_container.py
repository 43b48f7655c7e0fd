"""A job in a container that does everything to get its review past us, or out of its container."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from jobs import execution
from jobs.models import Job
from jobs.states import JobState
from jobs.workers import connect
from tests.container.base import ContainerTest
from tests.container.test_jobs import log_of
from tests.jobs.execution.base import PASSING, until
from tests.support.git_repos import NO_HUNKS, RepoBuilder

STORE = """
hunks = false
[commands]
install = "mkdir -p .env && echo good > .env/tool"
test = "python3 tests/test_price.py"
test_file = 'python3 "$1"'
"""
OLD_TEST = 'assert [open(name).read() for name in ("price", ".env/tool")] == ["1\\n", "good\\n"]\n'
SABOTAGE = """
import os
root, session = os.environ["OFFLOAD_ROOT"], os.environ["OFFLOAD_SESSION"]
if "/base/" in os.getcwd():
    print("ran on the base")
names = ["base/worktrees/%s/.env/tool" % session, "base/cache/x", "base/environments/x"]
for name in [*names, "worktrees/%s/x" % session]:
    if "/base/" in os.getcwd() or name.startswith("base/"):
        try:
            open(os.path.join(root, name), "w").write("evil")
            print("WORKED", name)
        except OSError as error:
            print(error)
"""
# One line of output for each attack that worked. `own`: a command that proves that it ran outside.
HOSTILE = r"""
exec 2>/dev/null
job=$OFFLOAD_ROOT/jobs/$OFFLOAD_SESSION
try() { name=$1; shift; if "$@"; then echo "WORKED: $name"; fi; }
put() { mkdir -p "$(dirname "$1")" && echo evil > "$1"; }

for file in verdict.json events.jsonl plan.json prepared.json status.json run.lock stop.json assessment.md \
  recording.cast artefacts.json tasks/test.exit tasks/test.log proof.json conflicts.json supervisor.lock; do
  try "wrote $file" put "$job/$file"
done
for file in bin/x state/tmux.conf state/rescue/x gemini-cli-config/x making/x; do
  try "wrote $file" put "$OFFLOAD_ROOT/$file"
done
for file in worktrees/$OFFLOAD_SESSION/x worktrees/x home/$OFFLOAD_SESSION/x cache/x caches/x; do
  try "wrote the base's $file" put "$OFFLOAD_ROOT/base/$file"
done
try "wrote the agent's HOME" put "$OFFLOAD_ROOT/agents/$OFFLOAD_SESSION/x"
mirror=$(ls -d "$OFFLOAD_ROOT"/repos/*.git | head -1)
for file in config hooks/post-checkout info/attributes objects/info/alternates refs/replace/x refs/heads/x \
  objects/00/x packed-refs shallow HEAD; do
  try "wrote the mirror's $file" put "$mirror/$file"
done
for pid in 1 $PPID $(ls /proc | grep '^[0-9]*$'); do
  [ "$(awk '/^Uid/{print $2}' /proc/$pid/status)" = 0 ] || continue
  for signal in KILL STOP TERM; do try "sent SIG$signal to root's $pid" kill -$signal $pid; done
  try "read the environment of $pid" grep -q . /proc/$pid/environ
  try "saw the files of $pid" ls /proc/$pid/fd/0
  try "saw the root of $pid" ls /proc/$pid/root/
  try "opened the memory of $pid" sh -c ": < /proc/$pid/mem"
done
try "became root" sh -c '[ "$(id -u)" = 0 ]'
try "made a device" mknod "$HOME/disk" b 8 0
try "mounted" mount -t tmpfs none /mnt
try "made a namespace" unshare -m true
try "found an engine" sh -c 'ls /var/run/docker.sock /run/podman/podman.sock | grep -q sock'
try "has a capability" grep -q 'Cap\(Prm\|Eff\|Amb\|Inh\):.*[1-9a-f]' /proc/self/status
try "may gain privileges" grep -q 'NoNewPrivs:.*0' /proc/self/status
try "wrote to a supervisor" sh -c 'for fd in /proc/[0-9]*/fd/1; do [ -w $fd ] && case $(readlink $fd) in
  pipe:*) [ "$(awk "/^Uid/{print \$2}" ${fd%fd/1}status)" = 0 ] && exit 0;; esac; done; exit 1'

env -i setsid sh -c 'trap "" TERM; (sleep 777777 &) ; sleep 777777' &
(setsid python3 -c 'import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(777777)' &)

# Traps for a reader of the worktree: a command that leaves its mark where only we can write.
own="touch $OFFLOAD_ROOT/jobs/PWNED"
cd "$OFFLOAD_WORKTREE"
git config core.fsmonitor "$own"; git config core.hooksPath "$PWD/hooks"; git config diff.evil.textconv "$own"
git config diff.evil.command "$own"; git config filter.evil.clean "$own"; git config filter.evil.smudge "$own"
git config diff.external "$own"; git config core.sshCommand "$own"; git config core.pager "$own"
git config core.alternateRefsCommand "$own"; git config include.path /etc/passwd
mkdir -p hooks .git/hooks
for hook in post-checkout post-index-change reference-transaction pre-commit; do
  printf '#!/bin/sh\n%s\n' "$own" | tee hooks/$hook > .git/hooks/$hook
done
chmod -R +x hooks .git/hooks
echo '* filter=evil diff=evil' > .gitattributes
cp .git/config "$HOME/.gitconfig"; mkdir -p "$HOME/.config/git"
cp .gitattributes "$HOME/.config/git/attributes"
echo /etc > .git/objects/info/alternates.more
mkfifo fifo; ln -s /etc/passwd link; truncate -s 3G sparse
mkdir -p a/b && chmod 000 a
rm -f .git/HEAD; mkfifo .git/HEAD
ln -sfn "$OFFLOAD_ROOT/jobs" "$HOME/.tmp-link"
i=0; while [ $i -lt 400 ]; do mkdir d && cd d || break; i=$((i+1)); done
printf '{"seq":99,"kind":"finished","state":"succeeded","verdict":"pass"}\n'
printf '\033]52;c;ZXZpbA==\007#{pid}#(touch %s)\n' "$OFFLOAD_ROOT/jobs/PWNED"
head -c 3000000 /dev/zero | tr '\0' x
exit 1
"""


DEPLOYING = """
[[tasks]]
id = "deploy"
shell = "sh ./deploy.sh"
secrets = ["DEPLOY_TOKEN"]
[[tasks]]
id = "writer"
shell = "touch made $HOME/made $OFFLOAD_ROOT/home/$OFFLOAD_SESSION/made"
needs = ["deploy"]
secrets = ["DEPLOY_TOKEN"]
writes = true
"""
DEPLOY = r"""
try() { name=$1; shift; if "$@" 2>/dev/null; then echo "WORKED: $name"; fi; }
put() { mkdir -p "$(dirname "$1")" && echo evil > "$1"; }
for file in worktrees/$OFFLOAD_SESSION/x worktrees/$OFFLOAD_SESSION/.git/config home/$OFFLOAD_SESSION/x \
  cache/x caches/x caches/$OFFLOAD_SESSION/x base/worktrees/$OFFLOAD_SESSION/x \
  jobs/$OFFLOAD_SESSION/verdict.json agents/$OFFLOAD_SESSION/x; do
  try "wrote $file" put "$OFFLOAD_ROOT/$file"
done
try "sees another container" sh -c 'cat /proc/[0-9]*/cmdline | tr "\0" " " | grep -q "[s]leep infinity"'
echo "${#DEPLOY_TOKEN} ${HOME#"$OFFLOAD_ROOT"/}"
echo waits
while ! test -f go; do sleep 0.1; done
"""
AT = ("head", "base")
# Say what is in HOME and the caches, and leave something there and in those of a job that is yet to come.
CACHES = r"""
for later in offload-mine-2-review offload-theirs-1-review; do
  test "$later" = "$OFFLOAD_SESSION" && continue
  for folder in "$OFFLOAD_ROOT/home/$later" "$OFFLOAD_ROOT/caches/$later"; do
    mkdir -p "$folder/pip" || continue
    echo "early $OFFLOAD_SESSION" | tee "$folder/evil-early" >"$folder/pip/evil-early"
  done
  test -e "$HOME/../offload-mine-3-review" || ln -s ../jobs "$HOME/../offload-mine-3-review"
  cd "$OFFLOAD_ROOT/caches" && { test -e offload-mine-3-review || ln -s ../jobs offload-mine-3-review; }
  cd "$OLDPWD"
done 2>/dev/null
case $PWD in */base/*) at=base;; *) at=head;; esac
count=0
for file in "$HOME"/evil-* "${PIP_CACHE_DIR%/pip}"/evil-*; do
  test -e "$file" && echo "FOUND $at $(cat "$file")"; done
for cache in "$GOCACHE" "$GOMODCACHE" "$PIP_CACHE_DIR" "$UV_CACHE_DIR" "$npm_config_cache" \
  "$YARN_CACHE_FOLDER" "$COMPOSER_CACHE_DIR"; do
  mkdir -p "$cache"; for file in "$cache"/evil-*; do test -e "$file" && echo "FOUND $at $(cat "$file")"; done
  echo "$at $OFFLOAD_SESSION" > "$cache/evil-$OFFLOAD_SESSION" && count=$((count+1))
done
echo "planted $count"
"""
# What the head's tests make of the directories that later containers of the job mount.
EXCHANGING = """
[[tasks]]
id = "reader"
shell = "ls -a; cat kept"
needs = ["test"]
secrets = ["DEPLOY_TOKEN"]
[[tasks]]
id = "writer"
shell = "touch $HOME/PWNED"
needs = ["test"]
secrets = ["DEPLOY_TOKEN"]
writes = true
"""
EXCHANGES = {
    "HOME": 'mv "$HOME" "$HOME.away"; ln -s ../jobs "$HOME"',
    "worktree": 'mv "$OFFLOAD_WORKTREE" "$OFFLOAD_WORKTREE.away"; ln -s PRIVATE "$OFFLOAD_WORKTREE"',
}
SPY = r"""
SPY=1 sh -c 'cat /proc/[0-9]*/environ | tr "\0" "\n" | grep -e ^SPY= -e ^DEPLOY_TOKEN= | sort -u' 2>/dev/null
"""


class SharedContainer(ContainerTest):
    async def test_a_hostile_review_fails_reaches_nothing_and_is_removed(self) -> None:
        bystander = await self.run_job()
        self.assertEqual(bystander.verdict, "pass")
        self.shop.pull(2, {"test.sh": HOSTILE})
        job = await self.run_job("2")
        log = (self.root / "jobs" / job.session / "tasks" / "test.log").read_text(errors="replace")
        self.assertIn('"seq":99', log, "the script ran to its end")
        self.assertEqual([line for line in log.splitlines() if line.startswith("WORKED")], [])

        tasks = {task["id"]: (task["state"], task["exit_code"]) for task in job.tasks}
        self.assertEqual(tasks["test"][0], "failed")
        self.assertNotEqual(job.verdict, "pass")
        self.assertEqual(job.state, JobState.SUCCEEDED)
        verdict = json.loads((self.root / "jobs" / job.session / "verdict.json").read_text())
        self.assertEqual((verdict["verdict"], verdict["sha"]), (job.verdict, job.sha))
        self.assertIn("not certain", str(job.findings), "the worktree's HEAD is no commit any more")
        own = f"{self.name}-{job.session}" if self.isolation == "job" else self.name
        self.assertEqual([p for p in await asyncio.to_thread(self.processes, own) if "777777" in p], [])

        async with connect(job.worker) as connection:
            diff = await connection.client.diff(job.session)
        self.assertIn(b"+exec 2>/dev/null", diff)
        await self._removed(job)
        self.assertFalse((self.root / "jobs" / "PWNED").exists())
        self.assertTrue((self.root / "jobs" / bystander.session / "verdict.json").exists())
        again = await self.run_job("1", name="again")
        self.assertEqual(again.verdict, "pass")

    async def _removed(self, job: Job) -> None:
        await execution.remove(job.id, force=True)
        for part in ("jobs", "worktrees", "home", "secret"):
            self.assertFalse((self.root / part / job.session).exists(), part)

    async def test_a_worktree_that_became_a_link_takes_nothing_with_it(self) -> None:
        kept = await self.run_job()
        swap = 'mv "$OFFLOAD_WORKTREE" "$OFFLOAD_WORKTREE.away"; ln -s ../jobs "$OFFLOAD_WORKTREE"\n'
        swap += 'rm -rf "$HOME"; ln -s "$OFFLOAD_ROOT/jobs" "$HOME"; exit 0\n'
        self.shop.pull(3, {"test.sh": swap})
        job = await self.run_job("3")
        self.assertNotEqual((job.state, job.verdict), (JobState.SUCCEEDED, "pass"))
        await self._removed(job)
        self.assertTrue(Path(self.root / "jobs" / kept.session / "events.jsonl").exists())

    async def test_a_change_cannot_have_the_base_fail_too(self) -> None:
        """Its tests run in the base's tree, for the proof; what they leave there must not count."""
        shop = RepoBuilder(self.tmp / "store").commit(
            {
                **NO_HUNKS,
                ".offload/config.toml": STORE,
                ".gitignore": ".env\n",
                "price": "1\n",
                "tests/test_price.py": OLD_TEST,
            }
        )
        shop.pull(1, {"price": "2\n", "tests/test_new.py": SABOTAGE})
        job = await self.run_job(repo=shop)
        log = (self.root / "jobs" / job.session / "tasks" / "proof.log").read_text()
        self.assertEqual(log.count("ran on the base"), 1, log)
        self.assertEqual(log.count("WORKED"), 1, "only the base's own tree can be written")
        self.assertIn("the base is made again", await log_of(job, "test-base"))
        self.assertEqual((job.state, job.verdict), (JobState.SUCCEEDED, "fail"))
        comparison = json.loads((self.root / "jobs" / job.session / "comparison.json").read_text())
        self.assertEqual([one["base"]["exit_code"] for one in comparison["checks"].values()], [0])
        # The next change gets what the base installed, whatever this one wrote.
        (kept,) = (self.root / "base" / "environments").glob("*/tree/.env/tool")
        self.assertEqual(kept.read_text(), "good\n")
        shop.pull(2, {"price": "3\n", "tests/test_new.py": SABOTAGE})
        job = await self.run_job("2", repo=shop)
        self.assertIn("Taking what was installed for the base", await log_of(job, "base"))
        self.assertEqual((job.state, job.verdict), (JobState.SUCCEEDED, "fail"))
        comparison = json.loads((self.root / "jobs" / job.session / "comparison.json").read_text())
        self.assertEqual([one["base"]["exit_code"] for one in comparison["checks"].values()], [0])

    async def test_a_task_with_a_secret_is_alone_and_only_reads(self) -> None:
        shop = RepoBuilder(self.tmp / "store").commit(
            {**PASSING, "deploy.sh": DEPLOY, ".offload/config.toml": DEPLOYING}
        )
        shop.pull(1, {"app.txt": "two\n"})
        await asyncio.to_thread(execution.secret_store().set, "DEPLOY_TOKEN", "hush-7f3a91c2")
        job = await self.submit("1", repo=shop, secrets=("DEPLOY_TOKEN",))
        await execution.launch(job.id)
        await until(lambda: self.own_log(job, "deploy").endswith("waits\n"), deadline=60)
        own = f"{self.name}-{job.session}" if self.isolation == "job" else self.name
        found = await asyncio.to_thread(self.docker, "exec", "-u", "1000:1000", own, "sh", "-c", SPY)
        self.assertEqual(found, "SPY=1\n", "what runs where the other tasks and jobs do sees only itself")
        (self.root / "worktrees" / job.session / "go").touch()
        job = await execution.wait(job.id, timeout=60)
        log = self.own_log(job, "deploy")
        self.assertEqual([line for line in log.splitlines() if line.startswith("WORKED")], [])
        self.assertIn(f"13 secret/{job.session}\n", log)
        self.assertEqual({task["id"]: task["state"] for task in job.tasks}["writer"], "succeeded")
        await self._removed(job)

    async def test_no_later_container_of_a_job_mounts_what_its_code_put_in_place(self) -> None:
        """An engine follows links in the sources of mounts, on the host."""
        private = self.tmp / "private"
        private.mkdir()
        (private / "kept").write_text("of the host\n")
        await asyncio.to_thread(execution.secret_store().set, "DEPLOY_TOKEN", "hush-7f3a91c2")
        for number, (name, exchange) in enumerate(EXCHANGES.items(), 1):
            shop = RepoBuilder(self.tmp / name).commit({**PASSING, ".offload/config.toml": EXCHANGING})
            shop.pull(number, {"test.sh": exchange.replace("PRIVATE", str(private)) + "; exit 0\n"})
            job = await self.run_job(str(number), repo=shop, secrets=("DEPLOY_TOKEN",))
            self.assertFalse((self.root / "jobs" / "PWNED").exists(), name)
            self.assertNotIn("of the host", self.own_log(job, "reader"), name)
            if self.isolation == "worker":
                said = [event["text"] for event in self.journal_of(job) if event["kind"] == "note"]
                self.assertIn("is another directory than the job's", str(said), name)
                self.assertEqual((job.state, job.verdict), (JobState.INTERRUPTED, ""))
            await self._removed(job)

    def journal_of(self, job: Job) -> list[dict[str, Any]]:
        lines = (self.root / "jobs" / job.session / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def own_log(self, job: Job, task: str) -> str:
        path = self.root / "jobs" / job.session / "tasks" / f"{task}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def test_what_a_job_leaves_in_a_cache_reaches_no_other_job(self) -> None:
        """Nor in a HOME; nor does the base of another repository: what installs from a cache trusts it."""
        config = "hunks = false\n[commands]\ninstall = 'sh caches.sh'\ntest = 'sh caches.sh && sh test.sh'\n"
        files = {".offload/config.toml": config, "caches.sh": CACHES, "test.sh": "exit 0\n"}
        found = set()
        for name, numbers in (("mine", (1, 2, 3)), ("theirs", (1,))):
            shop = RepoBuilder(self.tmp / name).commit(files)
            for number in numbers:
                shop.pull(number, {"test.sh": f"exit {number}\n"})
                job = await self.run_job(str(number), repo=shop)
                for task in ("install", "test", "test-base"):
                    log = self.own_log(job, task)
                    self.assertIn("planted 7", log)
                    found |= {
                        (job.session, *line.split()[1:]) for line in log.splitlines() if "FOUND" in line
                    }
        mine = [f"offload-mine-{number}-review" for number in (1, 2, 3)]
        allowed = {(session, at, at, session) for session in (*mine, "offload-theirs-1-review") for at in AT}
        bases = {(mine[b], "base", "base", mine[a]) for a, b in ((0, 1), (0, 2), (1, 2))}
        self.assertLessEqual(found, allowed | bases)
        self.assertGreaterEqual(found, {(session, "head", "head", session) for session in mine})


class OneContainerPerJob(SharedContainer):
    isolation = "job"

    async def test_a_worktree_that_became_a_link_takes_nothing_with_it(self) -> None:
        """Only the job's own directories are there: they are mount points and cannot be exchanged."""
        self.shop.pull(
            3, {"test.sh": 'mv "$OFFLOAD_WORKTREE" /tmp/x || echo kept; ls "$OFFLOAD_ROOT/worktrees"\n'}
        )
        job = await self.run_job("3")
        log = (self.root / "jobs" / job.session / "tasks" / "test.log").read_text()
        self.assertIn("kept\n", log)
        self.assertEqual(log.split("kept\n")[1].split(), [job.session])

    async def test_the_base_is_tested_too(self) -> None:
        self.shop.pull(4, {"test.sh": "exit 1\n"})
        job = await self.run_job("4")
        states = {task["id"]: task["state"] for task in job.tasks}
        self.assertEqual((states["test"], states["test-base"]), ("failed", "succeeded"))
