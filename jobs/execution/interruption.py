"""Interrupt the jobs of a worker before its machine is stopped, changed or deleted.

The worker's desired state and its jobs are changed in one transaction, which `machines.wake` reads: a launch
either came before the stop, and is interrupted, or after it, and starts the machine again.
"""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.db import transaction

from jobs.execution import apply
from jobs.models import Job, Worker
from jobs.states import JobState, Reason, RequestKind, WorkerDesired
from jobs.transitions import move_job, set_desired
from jobs.workers.requests import POWER, is_open, replace_requests

_HELD = (JobState.QUEUED, JobState.PREPARING, JobState.RUNNING)


def _interrupt(worker_id: int, reason: Reason, detail: str) -> None:
    here = Job.objects.filter(worker_id=worker_id, removed_at__isnull=True)
    for job in here.filter(state__in=_HELD):
        apply.interrupt(job, reason, detail)


@sync_to_async
def interrupt_for_stop(worker_id: int, detail: str, *, request_id: int | None = None) -> bool:
    """Set a worker's desired state to `down` and interrupt its jobs, queued ones too.

    To be called before the machine is stopped. With `request_id`, nothing is done when that request was
    replaced; without, open requests for the machine are replaced. Returns whether it was done.
    """
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        if request_id is not None and not is_open(request_id):
            return False
        if row.desired != WorkerDesired.GONE:
            set_desired(worker_id, WorkerDesired.DOWN)
            if request_id is None:
                replace_requests(worker_id, POWER | {RequestKind.KEEP})
        _interrupt(worker_id, Reason.WORKER_STOPPED, detail)
    return True


@sync_to_async
def end_waiting_jobs(worker_id: int, detail: str) -> list[str]:
    """End the jobs that wait for a worker whose machine is deleted; return their sessions.

    A job that had begun is interrupted, because its files may be kept; any other fails. To be called before
    the deletion, and after it for the jobs that came in between.
    """
    ended = []
    with transaction.atomic():
        Worker.objects.select_for_update().get(id=worker_id)
        here = Job.objects.filter(worker_id=worker_id, removed_at__isnull=True)
        for job in here.filter(state__in=(JobState.QUEUED, JobState.PREPARING)).order_by("id"):
            if job.started_at is not None:
                apply.interrupt(job, Reason.WORKER_LOST, detail)
            else:
                move_job(job.id, JobState.FAILED, reason=Reason.PREPARE_FAILED, detail=detail)
            ended.append(job.session)
    return ended


@sync_to_async
def finish_stop(worker_id: int, detail: str) -> None:
    """After the stop, interrupt the jobs that came in between, unless the machine is wanted again by now."""
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        if row.desired == WorkerDesired.UP:
            return
        _interrupt(worker_id, Reason.WORKER_STOPPED, detail)
        apply.end_cancelling(worker_id, detail)


@sync_to_async
def interrupt_for_change(worker_id: int, detail: str) -> None:
    """Interrupt the jobs of a worker whose machine is about to be changed; see `resume_after_change`."""
    with transaction.atomic():
        Worker.objects.select_for_update().get(id=worker_id)
        _interrupt(worker_id, Reason.WORKER_CHANGED, detail)
        apply.end_cancelling(worker_id, detail)


@sync_to_async
def resume_after_change(worker_id: int) -> int:
    """Queue what a change of the machine interrupted, for workers with `auto_resume`; return how many."""
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        if row.desired != WorkerDesired.UP or not row.config.get("auto_resume"):
            return 0
        paused = Job.objects.filter(worker_id=worker_id, removed_at__isnull=True, state=JobState.INTERRUPTED)
        return sum(
            move_job(
                job.id, JobState.QUEUED, reason=Reason.SUBMITTED, detail="Its machine was changed.",
                actor="auto_resume", sources=frozenset({JobState.INTERRUPTED}),
            )
            for job in paused.filter(reason=Reason.WORKER_CHANGED)
        )  # fmt: skip
