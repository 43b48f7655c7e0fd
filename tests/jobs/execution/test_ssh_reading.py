"""What it costs to keep the rows of one far worker true: one channel, however many jobs."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from asgiref.sync import sync_to_async
from django.utils import timezone

from jobs.models import Job, Worker
from jobs.reconciler import DUTIES, Reconciler
from jobs.remote.layout import socket_for_root
from jobs.states import JobState
from jobs.transport import pool
from jobs.workers import close_lines
from tests.jobs.execution.base import ExecutionTest, until
from tests.jobs.execution.test_workers import Counting
from tests.support.factories import make_job
from tests.support.sshd import Sshd, free_port

JOBS = 50


class ManyJobs(ExecutionTest):
    def setUp(self) -> None:
        super().setUp()
        self.sshd = self.enterContext(Sshd(self.tmp / "sshd"))
        config = {"host": "127.0.0.1", "port": self.sshd.port, "key": str(self.sshd.client_key)}
        socket = socket_for_root(str(self.root), "")
        self.worker = Worker.objects.create(
            name="far", provider="ssh", root=str(self.root), config={**config, "tmux_socket": socket}
        )
        self.jobs = [self.running_job() for _ in range(JOBS)]

    def running_job(self) -> Job:
        """A job whose runner is at work: its journal has begun, and its lock is held (by us)."""
        job = make_job(state=JobState.RUNNING, worker=self.worker, observed_at=None, number=None)
        folder = self.root / "jobs" / job.session
        folder.mkdir(parents=True)
        self.write(folder, 1, "started", pid=os.getpid())
        lock = self.enterContext((folder / "run.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        return job

    def write(self, folder: Path, seq: int, kind: str, **fields: Any) -> None:
        event = {"seq": seq, "kind": kind, "at": timezone.now().isoformat(), **fields}
        with (folder / "events.jsonl").open("a") as journal:
            journal.write(json.dumps(event) + "\n")

    async def test_fifty_jobs_cost_one_channel_and_no_trip_each(self) -> None:
        trips: list[Sequence[str]] = []
        borrow = pool.borrow

        @asynccontextmanager
        async def counted(endpoint: Any) -> AsyncIterator[Any]:
            async with borrow(endpoint) as transport:
                yield Counting(transport, trips)

        stop = asyncio.Event()
        with mock.patch.object(pool, "borrow", counted):
            loop = asyncio.create_task(Reconciler(DUTIES, tick=0.2).run(stop))
            try:
                seen = Job.objects.filter(worker=self.worker, observed_at__isnull=False)
                await until(lambda: self.count(seen, JOBS), deadline=40)
                for job in self.jobs:
                    self.write(self.root / "jobs" / job.session, 2, "task_started", task="test")
                told = Job.objects.filter(worker=self.worker, journal_seq=2)
                await until(lambda: self.count(told, JOBS), deadline=40)
                await until(lambda: self.channels() == [1])  # one connection, one channel
            finally:
                stop.set()
                await loop
                await close_lines()
        follows = [argv for argv in trips if "follow" in argv]
        uploads = [argv for argv in trips if argv[0] == "put"]
        heads = [argv for argv in trips if "heads" in argv]
        others = [argv for argv in trips if argv not in (*follows, *uploads, *heads)]
        self.assertEqual(others, [])
        self.assertEqual(len(follows), 2, "one that found no runner, and one that stays")
        self.assertLessEqual(len(heads), 2, "one question for the repository, again if there was no runner")
        self.assertLessEqual(len(uploads), 2, "each of the two may be the first")

    async def test_a_dead_worker_is_dialled_now_and_then_and_holds_up_nobody(self) -> None:
        silent = {"host": "127.0.0.1", "port": free_port(), "key": str(self.sshd.client_key)}
        dead = await Worker.objects.acreate(name="dead", provider="ssh", root="/nowhere", config=silent)
        await sync_to_async(make_job)(state=JobState.RUNNING, worker=dead)
        stop = asyncio.Event()
        loop = asyncio.create_task(Reconciler(DUTIES, tick=0.05).run(stop))
        try:
            await until(lambda: self.state_is(dead, "unreachable"), deadline=30)
            await until(lambda: self.state_is(self.worker, "ready"), deadline=30)
            before, start = self.dialled(dead), asyncio.get_running_loop().time()
            await until(lambda: self.dialled(dead) > before, deadline=30)
            took = asyncio.get_running_loop().time() - start
            self.assertLess(self.dialled(dead) - before, 2 + took, "not at every tick")
            seen = Job.objects.filter(worker=self.worker, observed_at__isnull=False)
            await until(lambda: self.count(seen, JOBS), deadline=40)
        finally:
            stop.set()
            await loop
            await close_lines()

    def mine(self) -> list[Any]:
        return [lines for of in pool._pool._lines.values() for lines in of.values()]

    def channels(self) -> list[int]:
        return [line.used for lines in self.mine() for line in lines.lines]

    def dialled(self, worker: Worker) -> int:
        port = worker.config["port"]
        return sum(lines.attempts for lines in self.mine() if lines.endpoint.port == port)

    async def state_is(self, worker: Worker, state: str) -> bool:
        found: str = (await Worker.objects.aget(id=worker.id)).state
        return found == state

    async def count(self, rows: Any, wanted: int) -> bool:
        found: int = await rows.acount()
        return found == wanted
