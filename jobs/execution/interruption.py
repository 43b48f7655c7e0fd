"""The brake that somebody pulls on a worker: what waits or works there is interrupted, and stays so.

Whether a machine is wanted and what its jobs are is changed in one transaction, as `machines.wake` reads it:
a launch is either before the brake, and noticed, or after it, and a wish of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from jobs.execution import apply
from jobs.models import Job, Worker
from jobs.states import JobState, Reason, WorkerDesired
from jobs.transitions import move_job

_HELD = (JobState.QUEUED, JobState.PREPARING, JobState.RUNNING)
# What a page may have asked for; a brake is newer.
_WISHES = ("power_wish", "keep_wish")


def _interrupt(worker_id: int, reason: Reason, detail: str) -> None:
    here = Job.objects.filter(worker_id=worker_id, removed_at__isnull=True)
    for job in here.filter(state__in=_HELD):
        apply.interrupt(job, reason, detail)


def _brake(worker_id: int, detail: str, expect: Mapping[str, Any] | None = None) -> bool:
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        if any(row.config.get(key) != value for key, value in (expect or {}).items()):
            return False
        if row.desired != WorkerDesired.GONE:
            columns: dict[str, Any] = {"desired": WorkerDesired.DOWN.value}
            if expect is None:
                columns["config"] = {key: row.config[key] for key in row.config if key not in _WISHES}
            Worker.objects.filter(id=worker_id).update(**columns)
        _interrupt(worker_id, Reason.WORKER_STOPPED, detail)
    return True


@sync_to_async
def brake(worker_id: int, detail: str, *, expect: Mapping[str, Any] | None = None) -> bool:
    """Want a worker's machine down, forget what pages wish of it, and interrupt its jobs, queued ones too.

    To be called before the machine is asked to stop. With `expect` (a wish that is carried out), nothing is
    done when the configuration is not so any more, and wishes stay. Returns whether it was done.
    """
    return _brake(worker_id, detail, expect)


@sync_to_async
def forsake(worker_id: int, detail: str) -> list[str]:
    """End what waits for a worker whose machine is deleted; return the sessions of those jobs.

    A job that had begun is interrupted, for its files may be kept; one that had not has failed, as its launch
    would. To be called before the machine goes, and after it for what came in between.
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
def settle(worker_id: int, detail: str) -> None:
    """After the stop: interrupt what came in between, unless somebody wants the machine up again by now."""
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        if row.desired == WorkerDesired.UP:
            return
        _interrupt(worker_id, Reason.WORKER_STOPPED, detail)
        apply.end_cancelling(worker_id, detail)


@sync_to_async
def pause(worker_id: int, detail: str) -> None:
    """Interrupt the jobs of a worker whose machine is about to be changed; see `go_on`."""
    with transaction.atomic():
        Worker.objects.select_for_update().get(id=worker_id)
        _interrupt(worker_id, Reason.WORKER_CHANGED, detail)
        apply.end_cancelling(worker_id, detail)


@sync_to_async
def go_on(worker_id: int) -> int:
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
