"""The one loop that moves things: observe, compare with what is wanted, act.

Per worker, one channel follows every job's journal. Beside it, a tick looks for intent that nobody
carries out: queued jobs, launches whose launcher died, cancellations, evidence not yet at home.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

from django.db.models import Q
from django.utils import timezone

from jobs.errors import OffloadError, TransportError, WorkerUnavailable
from jobs.execution import requests
from jobs.execution.archive import archive
from jobs.execution.cancel import finish_cancel
from jobs.execution.follow import Reading
from jobs.execution.heads import check_heads
from jobs.execution.launch import launch, lease, lease_owner
from jobs.execution.machines import note_silence, revive
from jobs.models import Job, Worker
from jobs.providers.registry import CLOUDS
from jobs.remote.client import SILENT
from jobs.states import JOB_ENDED, Attention, JobState, WorkerState
from jobs.workers import connect, observe_worker
from jobs.workers.idle import read_idle

log = logging.getLogger("offload.reconcile")

TICK_SECONDS = 1.0
HEADS_SECONDS = 120.0
# What is shown must be true within ten seconds.
MACHINE_SECONDS = 8.0
HEADS_AT_MOST = 50
BACKOFF_SECONDS = (1, 2, 5, 10, 30)
# A worker that is back must be seen within ten seconds; the pool bounds how often it is really dialled.
FOLLOW_AGAIN_SECONDS = 4
SLOW_SECONDS = 6.0
_DOWN = (WorkerState.STOPPING, WorkerState.STOPPED, WorkerState.DELETING)


class Reconciler:
    """Drives every job of every worker until told to stop."""

    def __init__(self, *, tick: float = TICK_SECONDS) -> None:
        self.tick = tick
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._retry_at: dict[tuple[str, int], float] = {}
        self._wishes: dict[tuple[str, int], str] = {}
        self._heads_due = 0.0
        self._failures: dict[tuple[str, int], int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. What was under way is taken up by the next loop."""
        try:
            while not stop.is_set():
                try:
                    await self.once()
                except Exception:
                    # The loop is what everything hangs on: it reports and goes on.
                    log.exception("A reconcile tick failed; the next one follows.")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self.tick)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def once(self) -> None:
        """Look for work that nobody does, and start it. Returns without waiting for it."""
        self._reap()
        now = timezone.now()
        unleased = Q(lease_owner="") | Q(lease_until__lt=now) | Q(lease_until__isnull=True)
        present = Job.objects.filter(removed_at__isnull=True)
        # A machine that is known to be down has nothing to tell.
        up = Worker.objects.exclude(state__in=_DOWN).exclude(state=WorkerState.ABSENT, provider__in=CLOUDS)
        async for worker in up.filter(jobs__in=present.exclude(worktree="")).distinct():
            self._start("follow", worker.id, self._follow(worker))
        async for worker in Worker.objects.filter(provider__in=CLOUDS).exclude(state=WorkerState.ABSENT):
            self._start("machine", worker.id, self._machine(worker))
        async for worker in Worker.objects.filter(config__has_any_keys=list(requests.KINDS)):
            for kind in requests.KINDS:
                if kind in worker.config:
                    self._carry_out(worker, kind)
        wanted = present.filter(state__in=[JobState.QUEUED, JobState.PREPARING]).filter(unleased)
        wanted = wanted.exclude(attention=Attention.APPROVAL)
        async for job in wanted.order_by("created_at"):
            self._start("launch", job.id, self._launch(job.id))
        async for job in present.filter(state=JobState.CANCELLING).select_related("worker"):
            self._start("cancel", job.id, self._cancel(job))
        if asyncio.get_running_loop().time() >= self._heads_due:
            self._heads_due = asyncio.get_running_loop().time() + HEADS_SECONDS
            self._start("heads", 0, self._heads())
        ended = present.filter(state__in=JOB_ENDED, archived_at__isnull=True, worker__in=up)
        ended = ended.exclude(worktree="")
        async for job_id in ended.values_list("id", flat=True):
            self._start("archive", job_id, self._archive(job_id))

    def _start(self, kind: str, key: int, work: Coroutine[Any, Any, None]) -> None:
        name = (kind, key)
        if name in self._tasks or asyncio.get_running_loop().time() < self._retry_at.get(name, 0):
            work.close()
            return
        self._tasks[name] = asyncio.create_task(work, name=f"{kind} {key}")

    def _reap(self) -> None:
        for name, task in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[name]
            error = None if task.cancelled() else task.exception()
            if error is None:
                self._failures.pop(name, None)
                if name[0] != "machine":
                    self._retry_at.pop(name, None)
                continue
            count = self._failures.get(name, 0)
            self._failures[name] = count + 1
            pause = BACKOFF_SECONDS[min(count, len(BACKOFF_SECONDS) - 1)]
            if name[0] == "follow":
                pause = min(pause, FOLLOW_AGAIN_SECONDS)
            self._retry_at[name] = asyncio.get_running_loop().time() + pause
            level = logging.WARNING if isinstance(error, OffloadError) else logging.ERROR
            log.log(
                level,
                "%s %s failed, next try in %s s: %s",
                *name,
                pause,
                error,
                exc_info=None if isinstance(error, OffloadError) else error,
            )

    async def _follow(self, worker: Worker) -> None:
        """Keep one worker's rows true for as long as the line holds."""
        reading = Reading(worker.id)
        slow = asyncio.create_task(self._say_if_slow(worker.id))
        try:
            async with connect(worker) as connection:
                since = await reading.load()
                async with aclosing(connection.client.follow(since)) as lines:
                    async for line in lines:
                        slow.cancel()
                        await reading.take(line)
                        if line["type"] == "synced":
                            await reading.missing()
                        if line["type"] == SILENT:
                            await note_silence(worker.id, "It has stopped answering.")
                        if line["type"] in ("synced", "ping"):
                            await observe_worker(worker.id, True, "Answered the reconcile loop.")
        except (TransportError, WorkerUnavailable) as error:
            if not await note_silence(worker.id, str(error)):
                raise
        finally:
            slow.cancel()

    async def _say_if_slow(self, worker_id: int) -> None:
        """Say of a worker that does not answer at all what is true, before every attempt has timed out."""
        await asyncio.sleep(SLOW_SECONDS)
        await note_silence(worker_id, "It has not answered yet.")

    async def _launch(self, job_id: int) -> None:
        # A request that can never work is `failed` on its row; only the line is worth another try.
        try:
            await launch(job_id, keep_queued=True)
        except OffloadError as error:
            if error.retryable:
                raise
            log.warning("Launching job %s failed: %s", job_id, error)

    async def _machine(self, worker: Worker) -> None:
        """Look at a machine that is ours now and then: it may be taken away, or turn itself off."""
        await revive(worker)
        await read_idle(await Worker.objects.aget(id=worker.id))
        self._retry_at["machine", worker.id] = asyncio.get_running_loop().time() + MACHINE_SECONDS

    def _carry_out(self, worker: Worker, kind: str) -> None:
        """Start carrying a wish out; a newer one ends what is done for the older."""
        name, at = (kind, worker.id), worker.config[kind]["at"]
        if self._wishes.get(name, at) != at:
            self._retry_at.pop(name, None)
            if name in self._tasks:
                self._tasks[name].cancel()
                return
        self._wishes[name] = at
        self._start(kind, worker.id, requests.carry_out(worker, kind))

    async def _cancel(self, job: Job) -> None:
        async with lease(job.id, lease_owner()) as ours:
            if ours:
                await finish_cancel(job)

    async def _heads(self) -> None:
        """Look whether the heads of the jobs on the list have moved: one question for each repository."""
        jobs = Job.objects.filter(removed_at__isnull=True, ref__startswith="refs/").exclude(sha="")
        asked: dict[tuple[int, int], list[Job]] = {}
        async for job in jobs.select_related("repository", "worker").order_by("-created_at")[:HEADS_AT_MOST]:
            asked.setdefault((job.worker_id, job.repository_id), []).append(job)
        for group in asked.values():
            with contextlib.suppress(TransportError, WorkerUnavailable):
                await check_heads(group)

    async def _archive(self, job_id: int) -> None:
        await archive(job_id)
