"""The main job, end to end on this machine: real git, real tmux, the real runner."""

import asyncio
import importlib
import subprocess
from datetime import timedelta
from pathlib import Path
from unittest import mock

from django.utils import timezone

from jobs import execution
from jobs.errors import NotFound, Refused, UsageError
from jobs.execution.remove import discard
from jobs.execution.requests import carry_out
from jobs.models import Job, JobEvent, PullRequest
from jobs.remote import bundle
from jobs.remote.layout import socket_for_root
from jobs.remote.offload_runner.cli import COMMANDS
from jobs.remote.offload_runner.screen.tmux_server import server_options
from jobs.states import JobState, LaunchPhase
from tests.jobs.execution.base import ExecutionTest, Steps, until
from tests.support.offload_home import processes_under


class MainJob(ExecutionTest):
    async def test_a_review_reaches_its_verdict_with_evidence(self) -> None:
        job = await self.submit()
        steps = Steps()
        job = await execution.launch(job.id, steps)
        self.assertIn(job.state, (JobState.RUNNING, JobState.SUCCEEDED))
        job = await execution.wait(job.id, timeout=60)
        self.assertEqual((job.state, job.verdict, job.reason), ("succeeded", "pass", "finished"))
        self.assertEqual(job.sha, self.shop.sha("refs/pull/1/head"))
        states = {task["id"]: task["state"] for task in job.tasks}
        self.assertEqual(states["test"], "succeeded")
        self.assertEqual(states["test-base"], "succeeded")
        self.assertTrue(await execution.archive(job.id))
        job = await Job.objects.aget(id=job.id)
        self.assertIn(job.sha[:7], job.assessment)
        self.assertIn(b"test.sh", await execution.read_log(job.id, "test"))
        # Each part is entered once, in order; what the worker says meanwhile belongs to the part it is in.
        self.assertEqual(steps.phases, sorted(steps.phases))
        self.assertEqual({*steps.phases} - {LaunchPhase.PREPARE}, {LaunchPhase.CONNECT, LaunchPhase.START})

    async def test_a_review_starts_few_runners(self) -> None:
        """Each is a Python that imports the runner: most of what a short review costs."""
        counted = f"open({str(self.tmp / 'starts')!r}, 'a').write(' '.join(sys.argv) + '\\n')\n"
        begin = "import json, sys\n"
        self.assertTrue(bundle._MAIN.startswith(begin))
        with mock.patch.object(bundle, "_MAIN", bundle._MAIN.replace(begin, begin + counted, 1)):
            counting = bundle.build()
        self.shop.pull(2, {"app.txt": "two\n", "app_test.sh": "test -f app.txt\n"})
        with mock.patch.object(bundle, "current", return_value=counting):
            job = await self.run_job("2")
        self.assertEqual(job.verdict, "pass")
        steps = [task["id"] for task in job.tasks if task["role"] in ("context", "conflicts", "synthesis")]
        self.assertEqual(len(steps), 3)
        starts = (self.tmp / "starts").read_text().splitlines()
        words = [line.partition(" --root ")[2].split() for line in starts]
        kinds = sorted(word for line in words for word in line if word in COMMANDS)
        self.assertEqual(kinds, ["follow", "prepare", "record", "run", "start", "supervise"])

    async def test_the_base_is_the_one_that_the_forge_said_within_the_hour(self) -> None:
        self.shop.branch("old").checkout("main").commit({"new.txt": "1\n"})
        repository = await self.repository()
        now = timezone.now()
        for number, age, base in ((4, 1, "refs/heads/old"), (5, 70, "refs/heads/main")):
            self.shop.pull(number, {"app.txt": f"{number}\n"})
            fetched = now - timedelta(minutes=age)
            await PullRequest.objects.acreate(
                repository=repository, number=number, base_ref="old", fetched_at=fetched
            )
            self.assertEqual((await self.run_job(str(number))).base_ref, base)

    async def test_a_broken_change_fails_and_the_base_is_blamed_only_when_it_is_broken_too(self) -> None:
        self.shop.pull(2, {"app.txt": None})
        job = await self.run_job("2")
        self.assertEqual((job.state, job.verdict), ("succeeded", "fail"))
        broken = self.shop.commit({"app.txt": None}, "Break the base")
        broken.pull(3, {"other.txt": "x\n"})
        job = await self.run_job("3")
        self.assertEqual(job.verdict, "needs_work")

    async def test_a_base_that_conflicts_needs_work(self) -> None:
        self.shop.commit({"app.txt": "three\n"}, "Move the base on")
        job = await self.run_job("1")
        self.assertEqual(job.verdict, "needs_work")
        self.assertTrue(any("app.txt" in str(finding) for finding in job.findings), job.findings)

    async def test_equal_requests_are_one_job(self) -> None:
        jobs = await asyncio.gather(*(self.submit() for _ in range(8)))
        self.assertEqual(len({job.id for job in jobs}), 1)
        await asyncio.gather(*(execution.launch(job.id) for job in jobs))
        await execution.wait(jobs[0].id, timeout=60)
        sessions = await self.tmux("list-sessions", "-F", "#{session_name}")
        self.assertEqual(sessions.split(), ["offload-shop-1-review"])
        self.assertEqual(await JobEvent.objects.filter(kind="started").acount(), 1)

    async def test_a_name_makes_a_second_job(self) -> None:
        first, second = await self.submit("1"), await self.submit("1:again")
        self.assertNotEqual(first.session, second.session)

    async def test_many_jobs_at_once(self) -> None:
        for number in range(2, 9):
            self.shop.pull(number, {f"n{number}.txt": "x\n"})
        jobs = [await self.submit(str(number)) for number in range(2, 9)]
        await asyncio.gather(*(execution.launch(job.id) for job in jobs))
        ended = await asyncio.gather(*(execution.wait(job.id, timeout=280) for job in jobs))
        self.assertEqual({(job.state, job.verdict) for job in ended}, {("succeeded", "pass")})
        self.assertEqual(len({job.sha for job in ended}), 7)

    async def test_an_unknown_number_leaves_nothing(self) -> None:
        job = await self.submit("404")
        with self.assertRaises(NotFound) as caught:
            await execution.launch(job.id)
        self.assertIn("404", str(caught.exception))
        await discard(job.id)
        self.assertFalse(await Job.objects.filter(id=job.id).aexists())
        self.assertEqual(list((self.root / "worktrees").glob("*")), [])
        self.assertEqual(list((self.root / "jobs").glob("*")), [])

    async def test_a_moved_head_is_said_and_the_old_commit_stays(self) -> None:
        job = await self.run_job("1")
        reviewed = job.sha
        self.shop.pull(1, {"app.txt": "newer\n"})
        await execution.resume(job.id, "test")
        job = await Job.objects.aget(id=job.id)
        self.assertEqual(job.state, JobState.SUCCEEDED, "a finished review is not run again by itself")
        moved = await execution.check_head(job.id)
        self.assertEqual((moved.sha, moved.moved_to), (reviewed, self.shop.sha("refs/pull/1/head")))
        self.assertTrue(moved.is_stale)
        await execution.check_head(job.id)
        self.assertEqual(await job.events.filter(kind="head_moved").acount(), 1)
        # To run it again is a request; it starts on the new head. A repeated request changes nothing.
        await execution.request_again(job.id, "test")
        request = await job.requests.aget()
        await carry_out(request.id)
        again = await Job.objects.aget(removed_at=None)
        self.assertEqual((again.state, again.action, again.worker_id), ("queued", job.action, job.worker_id))
        await execution.launch(again.id)
        self.assertEqual((await Job.objects.aget(id=again.id)).sha, moved.moved_to)
        with self.assertRaises(Refused):
            await execution.request_again(again.id, "test")

    async def test_actions_and_names_are_checked_before_anything_is_written(self) -> None:
        with self.assertRaises(UsageError):
            await self.submit("1", action="revue")
        with self.assertRaises(UsageError):
            await self.submit("1", name="a;b")
        self.assertEqual(await Job.objects.acount(), 0)

    async def tmux(self, *argv: str) -> str:
        from django.conf import settings

        socket = socket_for_root(str(self.root), settings.OFFLOAD.default_worker_root)
        tmux = ["tmux", *server_options(str(self.root), socket)]
        done = await asyncio.to_thread(
            subprocess.run,
            [*tmux, *argv],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout


class Removing(ExecutionTest):
    async def test_removing_leaves_nothing_on_the_worker_and_the_evidence_at_home(self) -> None:
        job = await self.run_job()
        removal = await execution.remove(job.id, actor="test")
        self.assertIsNone(removal.bundle)
        self.assertEqual(list((self.root / "worktrees").iterdir()), [])
        self.assertEqual(list((self.root / "jobs").iterdir()), [])
        await until(lambda: not processes_under(str(self.root / "worktrees")))
        job = await Job.objects.aget(id=job.id)
        self.assertIsNotNone(job.removed_at)
        self.assertIn(b"test.sh", await execution.read_log(job.id, "test"))

    async def test_uncommitted_work_is_refused_then_rescued(self) -> None:
        job = await self.run_job()
        (Path(job.worktree) / "notes.txt").write_text("mine")
        with self.assertRaises(Refused) as caught:
            await execution.remove(job.id)
        self.assertIn("notes.txt", str(caught.exception))
        self.assertTrue(Path(job.worktree).exists())
        # Evidence that cannot be copied is no reason to keep the job.
        with mock.patch.object(importlib.import_module("jobs.execution.archive"), "ARCHIVE_BYTES", 1000):
            removal = await execution.remove(job.id, force=True)
        self.assertIn("Its evidence was not kept: ", removal.notes[0])
        assert removal.bundle is not None
        listed = await asyncio.to_thread(
            subprocess.run, ["git", "bundle", "list-heads", removal.bundle], capture_output=True, check=False
        )
        self.assertEqual(listed.returncode, 0, listed.stderr)

    async def test_unpushed_commits_are_refused(self) -> None:
        job = await self.run_job()
        tree = Path(job.worktree)
        (tree / "new.txt").write_text("x")
        for argv in (["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "mine"]):
            subprocess.run(["git", "-C", str(tree), *argv], check=True)
        with self.assertRaises(Refused):
            await execution.remove(job.id)

    async def test_a_running_job_is_refused_and_forced(self) -> None:
        self.shop.pull(5, {"test.sh": "sleep 600\n"})
        job = await self.submit("5")
        await execution.launch(job.id)
        with self.assertRaises(Refused):
            await execution.remove(job.id)
        await execution.remove(job.id, force=True)
        await until(lambda: not processes_under(str(self.root / "worktrees")))


class Cancelling(ExecutionTest):
    async def test_cancel_ends_the_processes_before_it_says_so(self) -> None:
        self.shop.pull(5, {"test.sh": "sleep 86001 & sleep 86002; wait\n"})
        job = await self.submit("5")
        await execution.launch(job.id)
        await self.task_running(job.id, "test")
        await until(lambda: len(processes_under("sleep\x008600")) == 2)
        job = await execution.cancel(job.id, "mira")
        self.assertEqual((job.state, job.reason), ("cancelled", "cancelled_by_user"))
        self.assertEqual(processes_under("sleep\x008600"), [])
        again = await execution.cancel(job.id, "mira")
        self.assertEqual(again.state, "cancelled", "once more changes nothing")

    async def test_what_has_ended_cannot_be_cancelled(self) -> None:
        job = await self.run_job()
        with self.assertRaises(Refused):
            await execution.cancel(job.id, "mira")

    async def task_running(self, job_id: int, task: str) -> None:
        async def running() -> bool:
            job = await execution.refresh(job_id)
            return any(item["id"] == task and item["state"] == "running" for item in job.tasks)

        await until(running)
