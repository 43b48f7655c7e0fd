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

from django.utils import timezone

from jobs.execution.reconcile import Reconciler
from jobs.models import Job, Worker
from jobs.remote.layout import socket_for_root
from jobs.states import JobState
from jobs.transport import pool
from jobs.workers import close_lines
from tests.jobs.execution.base import ExecutionTest, until
from tests.jobs.execution.test_workers import Counting
from tests.support.factories import make_job
from tests.support.sshd import Sshd

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
            loop = asyncio.create_task(Reconciler(tick=0.2).run(stop))
            try:
                seen = Job.objects.filter(worker=self.worker, observed_at__isnull=False)
                await until(lambda: self.count(seen, JOBS), deadline=40)
                for job in self.jobs:
                    self.write(self.root / "jobs" / job.session, 2, "task_started", task="test")
                told = Job.objects.filter(worker=self.worker, journal_seq=2)
                await until(lambda: self.count(told, JOBS), deadline=40)
                lines = [
                    line for lines in pool._pool._lines.values() for of in lines.values() for line in of.lines
                ]
                self.assertEqual([line.used for line in lines], [1], "one connection, one channel")
            finally:
                stop.set()
                await loop
                await close_lines()
        follows = [argv for argv in trips if "follow" in argv]
        uploads = [argv for argv in trips if argv[0] == "put"]
        heads = [argv for argv in trips if "ls-remote" in argv]
        # Looking for moved heads is another loop's business, each two minutes.
        others = [argv for argv in trips if argv not in (*follows, *uploads, *heads)]
        self.assertEqual((len(uploads), others), (1, []))
        self.assertEqual(len(follows), 2, "one that found no runner, and one that stays")

    async def count(self, rows: Any, wanted: int) -> bool:
        found: int = await rows.acount()
        return found == wanted
