"""Reading workers: one look (`refresh`), or until a job has ended (`wait`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from django.utils import timezone

from jobs.errors import MachineDown, TimedOut, TransportError, WorkerUnavailable
from jobs.execution import apply
from jobs.execution.machines import is_down, note_silence, resumes_by_itself
from jobs.models import Job, Worker
from jobs.remote.client import SILENT
from jobs.states import JOB_ENDED, JobState
from jobs.workers import Connection, connect, get_job, observe_worker
from jobs.workers.capacity import note_capacity

RETRY_SECONDS = (0.5, 1, 2, 4)
POLL_SECONDS = 0.5
PAUSE_SECONDS = 1.0
CAPACITY_SECONDS = 15.0  # from one note of what a worker measured of itself to the next


class Reading:
    """Applies one worker's stream of events and statuses to its jobs' rows."""

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id
        self.ids: dict[str, int] = {}
        self.seen: set[str] = set()
        self.looked_at = timezone.now()
        self._next_capacity = 0.0

    async def load(self) -> dict[str, int]:
        """Return, for each job with files on the worker, the last journal number applied."""
        since: dict[str, int] = {}
        jobs = Job.objects.filter(worker_id=self.worker_id, removed_at__isnull=True).exclude(worktree="")
        async for job in jobs.only("id", "session", "journal_seq"):
            self.ids[job.session] = job.id
            since[job.session] = job.journal_seq
        return since

    async def take(self, line: Mapping[str, Any]) -> int | None:
        """Apply one line; return the id of the job it was about."""
        session = line.get("session")
        if session is None:
            await self._note_capacity(line)
            return None
        self.seen.add(session)
        job_id = self.ids.get(session) or await self._find(session)
        if job_id is None:
            return None
        if line["type"] == "event":
            await apply.aapply_events(job_id, [line["event"]])
        elif line["type"] == "status":
            await apply.aapply_status(job_id, line)
        return job_id

    async def _note_capacity(self, line: Mapping[str, Any]) -> None:
        if "capacity" in line and time.monotonic() >= self._next_capacity:
            self._next_capacity = time.monotonic() + CAPACITY_SECONDS
            await note_capacity(self.worker_id, line["capacity"])

    async def _find(self, session: str) -> int | None:
        row = Job.objects.filter(worker_id=self.worker_id, session=session, removed_at__isnull=True)
        job_id = await row.values_list("id", flat=True).afirst()
        if job_id is not None:
            self.ids[session] = job_id
        return job_id

    async def missing(self) -> None:
        """Apply the absence of every job that the worker did not mention."""
        for session, job_id in list(self.ids.items()):
            if session not in self.seen:
                await apply.aapply_missing(job_id, self.looked_at)


async def read_once(connection: Connection) -> None:
    """Take one full look at a worker, over an open line."""
    reading = Reading(connection.worker.id)
    since = await reading.load()
    async with aclosing(connection.client.follow(since, once=True)) as lines:
        async for line in lines:
            await reading.take(line)
    await reading.missing()


async def refresh_worker(worker_id: int) -> None:
    """Take one full look at a worker. Raises an error of the line; the worker is then `unreachable`.

    A machine of ours that is down is no error: its row says so then, and its jobs are `interrupted`.
    """
    worker = await Worker.objects.aget(id=worker_id)
    try:
        async with connect(worker) as connection:
            await read_once(connection)
    except (TransportError, MachineDown) as error:
        if not await note_silence(worker_id, str(error)):
            raise
        return
    await observe_worker(worker_id, True, "Answered a reading.")


async def refresh(job_id: int) -> Job:
    """Look at a job's worker once and return its row as it is then.

    A job that nothing on a worker can change any more (ended or removed) costs no look.
    """
    job = await get_job(job_id)
    if job.removed_at is None and job.state in (JobState.RUNNING, JobState.CANCELLING, JobState.INTERRUPTED):
        if not await is_down(job.worker):
            await refresh_worker(job.worker_id)
        job = await get_job(job_id)
    return job


async def wait(
    job_id: int, *, timeout: float | None = None, pausing: Callable[[Job], None] | None = None
) -> Job:
    """Follow a job until it has ended (`interrupted` counts: nothing is at work then).

    With `pausing`, an interruption after which the job goes on by itself is no end; `pausing` is told.
    Raises `TimedOut` after `timeout` seconds; the job goes on. A broken connection is opened again, with
    back-off, for as long as it takes.
    """
    try:
        async with asyncio.timeout(timeout):
            job = await _wait(job_id)
            while pausing is not None and await resumes_by_itself(job):
                pausing(job)
                await asyncio.sleep(PAUSE_SECONDS)
                job = await _wait(job_id)
            return job
    except TimeoutError:
        job = await get_job(job_id)
        raise TimedOut(
            f"{job.session} has not ended within {timeout:g} s: it is {job.state}.",
            hint="The job goes on; wait again, or attach to it.",
        ) from None


async def _wait(job_id: int) -> Job:
    failures = 0
    while True:
        job = await get_job(job_id)
        if job.state in JOB_ENDED or job.removed_at is not None:
            return job
        if job.state in (JobState.QUEUED, JobState.PREPARING):
            await asyncio.sleep(POLL_SECONDS)
            continue
        try:
            await _follow_until_ended(job)
            failures = 0
        except (TransportError, WorkerUnavailable) as error:
            if isinstance(error, (TransportError, MachineDown)):
                await note_silence(job.worker_id, str(error))
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1


async def _follow_until_ended(job: Job) -> None:
    async with connect(job.worker) as connection:
        reading = Reading(job.worker_id)
        since = await reading.load()
        lines = connection.client.follow({job.session: since.get(job.session, 0)})
        async with aclosing(lines):
            async for line in lines:
                if line["type"] == SILENT:
                    await note_silence(job.worker_id, "It has stopped answering.")
                if await reading.take(line) == job.id or line["type"] in ("synced", "ping"):
                    if line["type"] in ("synced", "ping"):
                        await observe_worker(job.worker_id, True, "Answered a reading.")
                    if line["type"] == "synced" and job.session not in reading.seen:
                        await apply.aapply_missing(job.id, reading.looked_at)
                    row = await get_job(job.id)
                    if row.state in JOB_ENDED or row.removed_at is not None:
                        return
