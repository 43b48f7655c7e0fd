"""Kill -9 of anything, at any point: the next command or the loop tells the truth and resumes."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from django.conf import settings
from django.db import connection

from jobs import execution
from jobs.errors import NotFound, Refused
from jobs.models import Job, JobEvent, Repository, Worker
from jobs.reconciler import DUTIES, Reconciler
from jobs.remote.layout import socket_for_root
from jobs.remote.offload_runner.screen.tmux_server import server_options
from jobs.states import JobState
from tests.jobs.execution.base import ExecutionTest, until
from tests.support.offload_home import processes_under

ROOT = Path(__file__).resolve().parents[3]
# The first task leaves a mark each time it runs; the second waits for a file.
SLOW = {
    ".offload/config.toml": (
        '[commands]\nbuild = "echo built >> ../../marks"\n'
        'test = "echo tested >> ../../marks; while ! test -f ../../go; do sleep 0.05; done"\n'
    )
}


class Crashes(ExecutionTest):
    def setUp(self) -> None:
        super().setUp()
        self.shop.commit(SLOW)
        self.shop.pull(7, {"app.txt": "seven\n"})

    def marks(self) -> list[str]:
        path = self.root / "marks"
        return path.read_text().split() if path.exists() else []

    def go(self) -> None:
        (self.root / "go").touch()

    async def at_work(self) -> Job:
        job = await self.submit("7")
        await execution.launch(job.id)
        await until(lambda: "tested" in self.marks())
        return await execution.refresh(job.id)

    async def check_resumed(self, job: Job, reason: str) -> None:
        seen = await execution.refresh(job.id)
        await until(lambda: self.is_interrupted(job.id))
        seen = await Job.objects.aget(id=job.id)
        self.assertEqual((seen.state, seen.reason), ("interrupted", reason))
        self.go()
        await execution.launch(job.id)
        ended = await execution.wait(job.id, timeout=60)
        self.assertEqual((ended.state, ended.verdict), ("succeeded", "pass"))
        self.assertEqual(self.marks().count("built"), 1, "a finished task is not done again")
        self.assertEqual(self.marks().count("tested"), 2, "the unfinished one is")

    async def is_interrupted(self, job_id: int) -> bool:
        return (await execution.refresh(job_id)).state == JobState.INTERRUPTED

    async def test_kill_the_runner(self) -> None:
        job = await self.at_work()
        status = json.loads((self.root / "jobs" / job.session / "status.json").read_text())
        os.kill(status["pid"], signal.SIGKILL)
        await self.check_resumed(job, "runner_lost")

    async def test_kill_the_tmux_server(self) -> None:
        job = await self.at_work()
        socket = socket_for_root(str(self.root), settings.OFFLOAD.default_worker_root)
        tmux = ["tmux", *server_options(str(self.root), socket)]
        done = await asyncio.to_thread(
            subprocess.run,
            [*tmux, "display-message", "-p", "#{pid}"],
            capture_output=True,
            check=True,
        )
        os.kill(int(done.stdout), signal.SIGKILL)
        await self.check_resumed(job, "session_lost")

    async def test_lose_the_jobs_files(self) -> None:
        job = await self.at_work()
        await Job.objects.filter(id=job.id).aupdate(started_at=job.created_at.replace(year=2000))
        socket = socket_for_root(str(self.root), settings.OFFLOAD.default_worker_root)
        tmux = ["tmux", *server_options(str(self.root), socket)]
        subprocess.run([*tmux, "kill-server"], check=True)
        await until(lambda: not processes_under(str(self.root / "worktrees")))
        shutil.rmtree(self.root / "jobs" / job.session)
        seen = await execution.refresh(job.id)
        self.assertEqual((seen.state, seen.reason), ("interrupted", "job_files_lost"))

    @contextlib.asynccontextmanager
    async def command(self, *argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A real `manage.py`, on this test's database and worker."""
        environment = {
            **os.environ,
            "OFFLOAD_HOME": str(settings.OFFLOAD.home),
            "OFFLOAD_WORKER_ROOT": str(self.root),
            "OFFLOAD_TEST_DATABASE": str(connection.settings_dict["NAME"]),
            "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "manage.py"), *argv,
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def test_kill_the_command_while_it_prepares(self) -> None:
        self.shop.pull(8, {f"n{index}.txt": "x" for index in range(50)})
        async with self.command("offload", "8", "--repo", self.shop.url, "--detach") as process:
            await until(lambda: Job.objects.filter(number=8, state="preparing").aexists())
            process.kill()
            await process.wait()
        job = await Job.objects.aget(number=8)
        self.go()
        await execution.launch(job.id)
        ended = await execution.wait(job.id, timeout=60)
        self.assertEqual((ended.state, ended.verdict), ("succeeded", "pass"))

    async def test_kill_the_command_that_waits(self) -> None:
        async with self.command("offload", "7", "--repo", self.shop.url, "--wait") as process:
            await until(lambda: "tested" in self.marks())
            process.kill()
            await process.wait()
        self.go()
        job = await Job.objects.aget(number=7)
        ended = await execution.wait(job.id, timeout=60)
        self.assertEqual((ended.state, ended.verdict), ("succeeded", "pass"))
        self.assertEqual(self.marks(), ["built", "tested"], "the job never noticed")

    async def test_kill_the_loop(self) -> None:
        async with self.command("reconcile", "--tick", "0.1") as loop:
            job = await self.submit("7")
            await until(lambda: "tested" in self.marks())
            loop.kill()
            await loop.wait()
        self.go()
        async with self.command("reconcile", "--tick", "0.1"):
            await until(
                lambda: Job.objects.filter(id=job.id, archived_at__isnull=False).aexists(), deadline=30
            )
        ended = await Job.objects.aget(id=job.id)
        self.assertEqual((ended.state, ended.verdict), ("succeeded", "pass"))
        self.assertEqual(self.marks(), ["built", "tested"])


class TheLoop(ExecutionTest):
    @contextlib.asynccontextmanager
    async def loop(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        running = asyncio.create_task(Reconciler(DUTIES, tick=0.1).run(stop))
        try:
            yield
        finally:
            stop.set()
            await running

    async def test_it_launches_follows_and_archives_what_was_only_asked_for(self) -> None:
        job = await self.submit("1")
        async with self.loop():
            await until(
                lambda: Job.objects.filter(id=job.id, archived_at__isnull=False).aexists(), deadline=40
            )
        ended = await Job.objects.aget(id=job.id)
        self.assertEqual((ended.state, ended.verdict), ("succeeded", "pass"))
        self.assertIn("PASS", ended.assessment)
        worker = await Worker.objects.aget(id=ended.worker_id)
        self.assertEqual(worker.state, "ready")

    async def test_it_says_what_can_never_work(self) -> None:
        job = await self.submit("404")
        async with self.loop():
            await until(lambda: Job.objects.filter(id=job.id, state="failed").aexists())
        failed = await Job.objects.aget(id=job.id)
        self.assertEqual((failed.reason, failed.attention), ("prepare_failed", "error"))
        self.assertIn("refs/pull/404/head", failed.reason_detail)

    async def test_it_carries_out_a_cancellation(self) -> None:
        self.shop.pull(5, {"test.sh": "sleep 86003\n"})
        job = await self.submit("5")
        async with self.loop():
            await until(lambda: processes_under("sleep\x0086003"))
            await execution.request_cancel(job.id, "mira")
            await until(lambda: Job.objects.filter(id=job.id, state="cancelled").aexists())
        self.assertEqual(processes_under("sleep\x0086003"), [])

    async def test_an_untrusted_repository_waits_for_approval(self) -> None:
        job = await self.submit("1")
        await self.distrust(job)
        async with self.loop():
            await until(lambda: Job.objects.filter(id=job.id, attention="approval").aexists())
            self.assertEqual((await Job.objects.aget(id=job.id)).state, "queued")
            self.assertEqual(await JobEvent.objects.filter(job=job, kind="attention").acount(), 1)
            await execution.trust(job.repository_id, "mira")
            # Its address is made up, so the worker cannot reach it; but it was let through.
            await until(lambda: Job.objects.filter(id=job.id).exclude(state="queued").aexists())

    async def test_trust_that_was_taken_back_lets_no_job_start(self) -> None:
        job = await self.submit("1")
        await self.distrust(job)
        await execution.trust(job.repository_id, "mira")
        trusted = [row.slug for row in await execution.list_trusted()]
        repository, at_work = await execution.distrust(trusted[0], "mira")
        self.assertEqual((repository.id, at_work), (job.repository_id, 0))
        self.assertEqual(await execution.list_trusted(), [])
        with self.assertRaises(NotFound):
            await execution.distrust(trusted[0], "mira")
        with self.assertRaisesRegex(Refused, "is not trusted yet"):
            await execution.launch(job.id)
        row = await Repository.objects.aget(id=job.repository_id)
        placed = await execution.place_request(row, "local")
        with self.assertRaisesRegex(Refused, "is not trusted yet"):
            execution.require_trust(placed)
        kinds = [event.kind async for event in JobEvent.objects.filter(kind__endswith="trusted")]
        self.assertEqual(kinds, ["trusted", "distrusted"])

    async def distrust(self, job: Job) -> None:
        repository = await execution.resolve_repository("", self.shop.path)
        repository.url = "https://127.0.0.1:9/o/r"
        await repository.asave()
