"""Requests about workers and jobs: interfaces record them, the reconciler carries them out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.utils import timezone

from jobs.errors import NotFound, OffloadError, Refused
from jobs.execution.interruption import (
    finish_stop,
    interrupt_for_change,
    interrupt_for_stop,
    resume_after_change,
)
from jobs.execution.placement import Placement
from jobs.execution.remove import remove
from jobs.execution.submit import JobRequest, resume, submit
from jobs.forges.target import Target
from jobs.models import Job, Worker, WorkerRequest
from jobs.states import JOB_ACTIVE, RequestKind, WorkerState
from jobs.workers import fleet, get_job, idle
from jobs.workers.machines import cloud_of, silent
from jobs.workers.requests import aadd_request, afinish_request, amark_running, open_requests

# A request whose worker does not answer is tried again for this long.
RETRY_FOR = timedelta(minutes=15)
_RUNNING = (WorkerState.READY, WorkerState.UNREACHABLE)
REBUILDABLE = (*_RUNNING, WorkerState.STOPPED)
_DOING: Mapping[RequestKind, str] = {
    RequestKind.KEEP: "Keeping it up",
    RequestKind.START: "Starting it",
    RequestKind.STOP: "Stopping it",
    RequestKind.REBUILD: "Rebuilding it",
    RequestKind.REMOVE_JOB: "Removing it",
}


async def busy_jobs(worker: Worker) -> list[str]:
    """Return the sessions of the jobs that a stop of the worker's machine would interrupt or hold up."""
    here = Job.objects.filter(worker_id=worker.id, removed_at__isnull=True, state__in=JOB_ACTIVE)
    return [session async for session in here.order_by("id").values_list("session", flat=True)]


async def require_idle(worker: Worker) -> None:
    """Raise `Refused` while jobs run on the worker, or wait for it."""
    if busy := await busy_jobs(worker):
        raise Refused(
            f"{worker.name} is at work: {', '.join(busy)}.",
            hint="Wait or cancel; --force stops it, and the jobs go on with the same command.",
        )


async def stop_machine(
    worker: Worker, detail: str, step: Callable[[str], None] = silent, *, request_id: int | None = None
) -> bool:
    """Interrupt the jobs of a worker, stop its machine and return whether that changed anything.

    Every stop of one worker does this: a command, a request, forced or not. `detail`: the reason on the jobs.
    With `request_id`, nothing is done when that request was replaced. `require_idle` is the caller's to call.
    """
    # Jobs first, because a waiting one would otherwise be launched and start the machine again.
    if not await interrupt_for_stop(worker.id, detail, request_id=request_id):
        return False
    changed = await fleet.stop(worker, step)
    await finish_stop(worker.id, detail)
    return changed


async def request_keep(worker: Worker, hours: float, actor: str) -> datetime:
    """Request that the worker's machine stays up for `hours` from now (0: no longer); return until when.

    Raises `Refused` when no machine runs, `UsageError` for impossible hours.
    """
    cloud_of(worker, "Keeping")
    until = idle.until_of(hours)
    if worker.state not in _RUNNING:
        raise Refused(
            f"{worker.name} is {worker.state}: there is nothing to keep up.", hint="Start it first."
        )
    stamp = until.astimezone(UTC).isoformat()
    await aadd_request(
        worker.id,
        RequestKind.KEEP,
        actor=actor,
        parameters={"until": stamp},
        told={"hours": hours, "until": stamp},
    )
    return until


async def request_start(worker: Worker, actor: str) -> None:
    """Request that the worker's machine is started. Raises `Refused` when none is stopped."""
    cloud_of(worker, "Starting")
    if worker.state not in (WorkerState.STOPPED, WorkerState.STOPPING):
        raise Refused(
            f"{worker.name} is {worker.state}: there is no stopped machine to start.",
            hint=f"`manage.py fleet provision {worker.name}` makes one." if worker.state == "absent" else "",
        )
    await aadd_request(worker.id, RequestKind.START, actor=actor)


async def request_stop(worker: Worker, actor: str, *, force: bool = False) -> None:
    """Request that the worker's machine is stopped. Raises `Refused` while jobs run, unless with `force`."""
    cloud_of(worker, "Stopping")
    if worker.state in (WorkerState.STOPPED, WorkerState.ABSENT, WorkerState.DELETING):
        raise Refused(f"{worker.name} is {worker.state} already.")
    if not force:
        await require_idle(worker)
    await aadd_request(worker.id, RequestKind.STOP, actor=actor, parameters={"force": force})


async def request_rebuild(worker: Worker, actor: str, *, force: bool = False) -> None:
    """Request that the worker's machine is deleted and created again on its data disk.

    Raises `Refused` without a machine, while it is rebuilt, and while jobs run, unless with `force`.
    """
    cloud_of(worker, "Rebuilding")
    if worker.state not in REBUILDABLE:
        raise Refused(f"{worker.name} is {worker.state}: there is no machine to rebuild.")
    if await open_requests([RequestKind.REBUILD]).filter(worker=worker).aexists():
        raise Refused(f"{worker.name} is being rebuilt already.")
    if not force:
        await require_idle(worker)
    await aadd_request(worker.id, RequestKind.REBUILD, actor=actor, parameters={"force": force})


async def request_removal(job_id: int, actor: str, *, force: bool = False) -> WorkerRequest:
    """Request that a job's files are removed from its worker; return the request.

    `force` as in `remove`. Raises `NotFound` for a job that was removed, `Refused` for one that runs without
    `force`; work that exists nowhere else is found later, and fails the request.
    """
    job = await get_job(job_id)
    if job.removed_at is not None:
        raise NotFound(f"{job.session} was removed already.")
    if job.is_active and not force:
        raise Refused(f"{job.session} is {job.state}.", hint="Cancel it first, or force its removal.")
    return await aadd_request(
        job.worker_id, RequestKind.REMOVE_JOB, actor=actor, parameters={"force": force}, job_id=job.id
    )


async def request_again(job_id: int, actor: str) -> None:
    """Request that a job runs again: one that did not finish is resumed, another one starts on the new head.

    Its files are removed first as by `request_removal`; work that exists nowhere else fails the request.
    Raises `Refused` for a job that is at work.
    """
    job = await get_job(job_id)
    if job.is_active:
        raise Refused(f"{job.session} is {job.state}.", hint="Cancel it first.")
    if job.removed_at is not None:
        await _submit_again(job, actor)
    elif not await resume(job_id, actor):
        again = {"force": False, "again": True}
        await aadd_request(
            job.worker_id, RequestKind.REMOVE_JOB, actor=actor, parameters=again, job_id=job.id
        )


async def _submit_again(job: Job, actor: str) -> None:
    """Submit a job like one that was removed: the same target, action, name, options and worker."""
    options = job.options
    target = Target("pull", job.number) if job.number is not None else Target("branch", ref=job.target)
    if issue := options.get("issue"):
        target = Target("issue", issue)
    await submit(
        JobRequest(
            repository=job.repository,
            target=target,
            action=job.action,
            name=job.name,
            agent=options.get("agent") or "",
            prompt=options.get("prompt") or "",
            base=options.get("base") or "",
            rounds=options.get("rounds") or 0,
            secrets=tuple(options.get("secrets") or ()),
            actor=actor,
            placed=Placement(job.repository, job.worker, options.get("placement") or ""),
        )
    )


@sync_to_async
def removal_of(job: Job) -> WorkerRequest | None:
    """Return the last request to remove a job; its `state` and `error` say what came of it."""
    return job.requests.filter(kind=RequestKind.REMOVE_JOB).last()


async def carry_out(request_id: int) -> None:
    """Carry out an open request and record what came of it.

    Raises an error that another try may overcome; the request then stays open. A request that is replaced
    meanwhile stays replaced.
    """
    request = await WorkerRequest.objects.select_related("worker", "job").aget(id=request_id)
    if not await amark_running(request.id):
        return
    kind = RequestKind(request.kind)
    try:
        await CARRIED_OUT[kind](request)
    except OffloadError as error:
        late = timezone.now() - request.requested_at > RETRY_FOR
        # A start is not tried again: it would come, and cost, when the user no longer expects it.
        if error.retryable and not late and kind is not RequestKind.START:
            raise
        await asyncio.shield(afinish_request(request.id, f"{_DOING[kind]} failed: {error}"))
    else:
        await asyncio.shield(afinish_request(request.id))


async def _keep(request: WorkerRequest) -> None:
    if request.worker.state not in _RUNNING:
        raise Refused(f"{request.worker.name} is {request.worker.state}.")
    await idle.keep(request.worker, datetime.fromisoformat(request.parameters["until"]), request.actor)


async def _start(request: WorkerRequest) -> None:
    await fleet.start(request.worker, request_id=request.id)


async def _stop(request: WorkerRequest) -> None:
    if not request.parameters.get("force"):
        await require_idle(request.worker)
    detail = f"Its machine was stopped on request of {request.actor}."
    await stop_machine(request.worker, detail, request_id=request.id)


async def _rebuild(request: WorkerRequest) -> None:
    worker = request.worker
    if request.step != fleet.MAKING and not request.parameters.get("force"):
        await require_idle(worker)
    await interrupt_for_change(worker.id, f"Its machine is rebuilt on request of {request.actor}.")
    try:
        await fleet.rebuild(worker)
    except OffloadError:
        if await Worker.objects.filter(id=worker.id, state=WorkerState.READY).aexists():
            await resume_after_change(worker.id)  # the machine is as before
        raise
    await resume_after_change(worker.id)


async def _remove_job(request: WorkerRequest) -> None:
    if request.job is None:
        return
    if request.job.removed_at is None:
        await remove(request.job.id, force=bool(request.parameters.get("force")), actor=request.actor)
    if request.parameters.get("again"):
        await _submit_again(await get_job(request.job.id), request.actor)


# The kinds that the reconciler carries out by itself.
CARRIED_OUT: Mapping[RequestKind, Callable[[WorkerRequest], Awaitable[None]]] = {
    RequestKind.KEEP: _keep,
    RequestKind.START: _start,
    RequestKind.STOP: _stop,
    RequestKind.REBUILD: _rebuild,
    RequestKind.REMOVE_JOB: _remove_job,
}


def requests_to_carry_out() -> QuerySet[WorkerRequest]:
    """Return the requests that the reconciler carries out, oldest first.

    A rebuild without an actor is that of a command, which carries it out itself.
    """
    return open_requests(CARRIED_OUT).exclude(kind=RequestKind.REBUILD, actor="")
