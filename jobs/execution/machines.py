"""Work and the machines it runs on: waking for a launch, telling what a lost machine did to its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from jobs.errors import NotConfigured, NotFound, OffloadError, Refused
from jobs.execution import apply
from jobs.models import Job, Worker
from jobs.providers.base import InstanceState
from jobs.providers.registry import CLOUDS, prepare_cloud
from jobs.states import JobState, Reason, WorkerDesired, WorkerState
from jobs.transitions import move_job, set_desired
from jobs.workers import connect, ensure_container, observe_worker
from jobs.workers.fleet import look_at_machine
from jobs.workers.machines import cloud_or_none
from jobs.workers.provision import bring_up
from jobs.workers.requests import POWER, replace_requests

_UP = (InstanceState.RUNNING, InstanceState.CREATING)
LOOK_SECONDS = 8.0
HOST_SECONDS = 5.0
RECENT = timedelta(seconds=10)  # what the reconcile loop saw is no older
# A machine that shuts down ends its sessions first, and what they ran says so.
SHUTDOWN = timedelta(minutes=3)


@sync_to_async
def _want_up(worker_id: int, job_id: int | None) -> None:
    """Save that the machine is wanted, for a job that is still to be launched. Raises `Refused`."""
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        if job_id is not None and not Job.objects.filter(id=job_id, state=JobState.PREPARING).exists():
            raise Refused(
                f"The machine {row.name} is not started: what was to run there was taken back meanwhile.",
                hint="The same command goes on.",
            )
        if row.desired == WorkerDesired.DOWN:
            # A launch after a stop starts the machine again; a stop that is still tried is older.
            replace_requests(worker_id, POWER)
            set_desired(worker_id, WorkerDesired.UP)


async def wake(worker: Worker, step: Callable[[str], None], *, job_id: int | None = None) -> Worker:
    """Have the worker's machine up before work goes there; a machine that is not ours to start is taken

    as it is. `job_id`: the job it is for, which must still be `preparing`. Raises `NotFound` when there is no
    machine, `Refused` when a stop was asked for meanwhile, `NoCapacity`, `TimedOut`, or what the provider
    said.
    """
    if cloud_or_none(worker) is None:
        return worker
    worker = await Worker.objects.aget(id=worker.id)
    if worker.desired == WorkerDesired.GONE and worker.state != WorkerState.ABSENT:
        # To start it would take back what a user confirmed, and leave what no sweep ends.
        raise NotFound(
            f"The machine {worker.name} is being deleted.",
            hint=f"`manage.py fleet delete {worker.name}` ends that; `manage.py fleet start {worker.name}` "
            "keeps the machine, if it is still there.",
        )
    if worker.desired == WorkerDesired.GONE:
        raise NotFound(
            f"The machine {worker.name} was deleted.",
            hint=f"Make it again: `manage.py fleet provision {worker.name}`; "
            "if its data disk was kept, it is used.",
        )
    await _want_up(worker.id, job_id)
    state = await look_at_machine(worker)
    worker = await Worker.objects.aget(id=worker.id)
    if state is InstanceState.RUNNING and worker.state in (WorkerState.READY, WorkerState.UNREACHABLE):
        return worker
    step(f"Waking {worker.name}: {worker.state_detail or worker.state}")
    # A worker of a pool may have been claimed for this job: its machine is still to be made.
    worker, _ = await bring_up(worker, step, make=worker.pool_id is not None)
    return worker


def _interrupt_jobs(worker_id: int, detail: str) -> None:
    for job in Job.objects.filter(worker_id=worker_id, removed_at__isnull=True, state=JobState.RUNNING):
        apply.interrupt(job, Reason.WORKER_LOST, detail)
    apply.end_cancelling(worker_id, detail)


interrupt_jobs = sync_to_async(_interrupt_jobs)


async def is_down(worker: Worker) -> bool:
    """Look whether the worker's machine is down; then its row says so, and its jobs are `interrupted`.

    False for a machine that is not ours to look at.
    """
    if cloud_or_none(worker) is None:
        return False
    state = await look_at_machine(worker)
    if state in _UP:
        return False
    row = await Worker.objects.aget(id=worker.id)
    await interrupt_jobs(worker.id, row.state_detail)
    return True


async def note_silence(worker_id: int, detail: str) -> bool:
    """Have the row of a worker that does not answer say why; return whether its machine is down.

    A machine of ours is looked at: if it is down, its row says so and its jobs are `interrupted`. Else, or
    when its provider does not answer in time, the worker is `unreachable`.
    """
    worker = await Worker.objects.aget(id=worker_id)
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            if await is_down(worker):
                return True
    except (OffloadError, TimeoutError):
        pass  # what is known is that it does not answer
    await observe_worker(worker_id, False, detail)
    return False


async def prepare_to_look(workers: Iterable[Worker]) -> None:
    """Have loaded what looking at the workers' machines needs, so that deadlines are about their answers."""
    for kind in {worker.provider for worker in workers}:
        with suppress(NotConfigured):  # said by the look itself
            await asyncio.to_thread(prepare_cloud, kind)


async def look_at_machines() -> Sequence[str]:
    """Look at every machine of ours, for listings; return the names of those that could not be seen."""
    rows = Worker.objects.filter(provider__in=CLOUDS).exclude(state=WorkerState.ABSENT)
    workers = [worker async for worker in rows]
    await prepare_to_look(workers)

    async def look(worker: Worker) -> bool:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await is_down(worker)
        except (OffloadError, TimeoutError):
            return False
        return True

    seen = await asyncio.gather(*map(look, workers))
    return [worker.name for worker, good in zip(workers, seen, strict=True) if not good]


async def look_at_hosts() -> None:
    """Ask each worker that Offload did not make whether it answers, all at once; their rows say it.

    A worker that was observed in the last ten seconds is not asked.
    """
    old = Q(observed_at__isnull=True) | Q(observed_at__lt=timezone.now() - RECENT)
    workers = [worker async for worker in Worker.objects.exclude(provider__in=CLOUDS).filter(old)]

    async def look(worker: Worker) -> None:
        try:
            async with asyncio.timeout(HOST_SECONDS), connect(worker) as connection:
                await connection.transport.run(["true"])
        except OffloadError as error:
            await observe_worker(worker.id, False, error.message)
        except TimeoutError:
            await observe_worker(worker.id, False, f"It did not answer within {HOST_SECONDS:g} seconds.")
        else:
            await observe_worker(worker.id, True, "Answered a listing.")

    await asyncio.gather(*map(look, workers))


def _lost_with_the_machine(row: Worker) -> QuerySet[Job]:
    """Return the jobs that the machine's end interrupted."""
    before = Q(
        reason__in=[Reason.RUNNER_LOST, Reason.SESSION_LOST],
        finished_at__gte=(row.state_since or timezone.now()) - SHUTDOWN,
    )
    here = Job.objects.filter(worker_id=row.id, removed_at__isnull=True, state=JobState.INTERRUPTED)
    return here.filter(Q(reason=Reason.WORKER_LOST) | before)


async def resume_lost_jobs(worker: Worker) -> int:
    """Look at a worker's machine, for the reconcile loop; return how many jobs were asked to go on.

    With `auto_resume` in its configuration, the jobs of a machine that went down under them are queued:
    launching them starts it again.
    """
    if not await is_down(worker):
        return 0
    return await _resume_lost(worker.id)


async def resumes_by_itself(job: Job) -> bool:
    """Tell whether an interrupted job goes on by itself: `auto_resume`, and no stop was requested."""
    if job.state != JobState.INTERRUPTED or cloud_or_none(job.worker) is None:
        return False
    row = await Worker.objects.aget(id=job.worker_id)
    if row.desired != WorkerDesired.UP or not row.config.get("auto_resume"):
        return False
    try:
        await resume_lost_jobs(row)
    except OffloadError:
        return True  # its provider does not answer now
    job = await Job.objects.aget(id=job.id)
    return job.state != JobState.INTERRUPTED or job.reason == Reason.WORKER_CHANGED


@sync_to_async
def _resume_lost(worker_id: int) -> int:
    with transaction.atomic():  # with the row: a stop comes before this, or interrupts what is queued here
        row = Worker.objects.select_for_update().get(id=worker_id)
        if row.desired != WorkerDesired.UP or not row.config.get("auto_resume"):
            return 0
        return sum(
            move_job(
                job.id,
                JobState.QUEUED,
                reason=Reason.SUBMITTED,
                detail="Its machine went away and is started again.",
                actor="auto_resume",
                sources=frozenset({JobState.INTERRUPTED}),
            )
            for job in _lost_with_the_machine(row)
        )


async def unsaved(worker: Worker) -> Sequence[str]:
    """Return what would be lost with the worker's data: running jobs, and work that is nowhere else.

    Raises `Refused` when that cannot be looked at, because the machine is down.
    """
    jobs = Job.objects.filter(worker_id=worker.id, removed_at__isnull=True).exclude(worktree="")
    found = [job async for job in jobs.select_related("repository", "worker")]
    if not found:
        return []
    if await look_at_machine(worker) is not InstanceState.RUNNING:
        raise Refused(
            f"{worker.name} is not running, so it is unknown whether work on it is nowhere else "
            f"({', '.join(job.session for job in found)}).",
            hint=f"Start it first (`manage.py fleet start {worker.name}`), or insist with --force.",
        )
    said = []
    async with connect(worker) as line:
        for job in found:
            await ensure_container(line, job)
            try:
                await line.client.clean(job.session, force=False, check=True)
            except Refused as refusal:
                said.append(refusal.message)
    return said


async def mark_lost(worker: Worker, actor: str) -> None:
    """Note that the files of all jobs of a worker went with its data disk."""
    await interrupt_jobs(worker.id, "Its machine and its data disk were deleted.")
    here = Job.objects.filter(worker_id=worker.id, removed_at__isnull=True)
    await here.aupdate(removed_at=timezone.now())
