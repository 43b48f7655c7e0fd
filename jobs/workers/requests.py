"""The only writer of `WorkerRequest` rows: what was requested of a worker, and how far it is.

A later request replaces an open one that it contradicts. The process that carries a request out checks that
it is still open in the transaction that acts on it; the worker's row is the lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from jobs.models import JobEvent, Worker, WorkerRequest
from jobs.states import REQUEST_OPEN, RequestKind, RequestState, WorkerDesired
from jobs.transitions import set_desired

POWER = frozenset({RequestKind.START, RequestKind.STOP})
_REPLACES: Mapping[RequestKind, frozenset[RequestKind]] = {
    RequestKind.START: POWER,
    RequestKind.STOP: POWER,
    RequestKind.DELETE: frozenset(RequestKind) - {RequestKind.REMOVE_JOB},
}


def open_requests(kinds: Iterable[RequestKind] = tuple(RequestKind)) -> QuerySet[WorkerRequest]:
    """Return the requests of these kinds that are still to be carried out, oldest first."""
    return WorkerRequest.objects.filter(kind__in=list(kinds), state__in=list(REQUEST_OPEN))


def is_open(request_id: int) -> bool:
    """Return whether a request is still to be carried out."""
    return open_requests().filter(id=request_id).exists()


def replace_requests(worker_id: int, kinds: Iterable[RequestKind], job_id: int | None = None) -> None:
    """Make the open requests of these kinds void: something newer was asked for."""
    here = open_requests(kinds).filter(worker_id=worker_id)
    here = here.filter(job__isnull=True) if job_id is None else here.filter(job_id=job_id)
    here.update(state=RequestState.REPLACED.value, finished_at=timezone.now())


def add_request(
    worker_id: int,
    kind: RequestKind,
    *,
    actor: str,
    parameters: Mapping[str, Any] | None = None,
    job_id: int | None = None,
    told: Mapping[str, Any] | None = None,
) -> WorkerRequest:
    """Record a request for the reconciler, with an event that says who asked; return its row.

    `told`: what the event says beyond the kind.
    """
    with transaction.atomic():
        Worker.objects.select_for_update().get(id=worker_id)
        replace_requests(worker_id, _REPLACES.get(kind, {kind}), job_id)
        request = WorkerRequest.objects.create(
            worker_id=worker_id,
            job_id=job_id,
            kind=kind.value,
            actor=actor,
            parameters=dict(parameters or {}),
        )
        JobEvent.objects.create(
            worker_id=worker_id,
            job_id=job_id,
            kind="asked",
            actor=actor,
            data={"what": kind.value, **(told if told is not None else parameters or {})},
        )
    return request


def record_command(worker_id: int, kind: RequestKind, actor: str) -> None:
    """Record who gave a command that is carried out at once; it replaces the open requests like a request."""
    with transaction.atomic():
        Worker.objects.select_for_update().get(id=worker_id)
        replace_requests(worker_id, _REPLACES.get(kind, {kind}))
        JobEvent.objects.create(worker_id=worker_id, kind="asked", actor=actor, data={"what": kind.value})


def begin_operation(
    worker_id: int,
    kind: RequestKind,
    *,
    parameters: Mapping[str, Any] | None = None,
    actor: str = "",
    desired: WorkerDesired | None = None,
) -> WorkerRequest:
    """Return the row of an operation that starts now, or that an earlier process began and did not finish.

    `desired`: what the operation wants of the worker, saved in the same transaction.
    """
    with transaction.atomic():
        Worker.objects.select_for_update().get(id=worker_id)
        if desired is not None:
            set_desired(worker_id, desired)
        others = _REPLACES.get(kind, frozenset({kind})) - {kind}
        replace_requests(worker_id, others)
        request = open_requests([kind]).filter(worker_id=worker_id).last()
        if request is None:
            return WorkerRequest.objects.create(
                worker_id=worker_id,
                kind=kind.value,
                actor=actor,
                state=RequestState.RUNNING.value,
                parameters=dict(parameters or {}),
            )
        changes: dict[str, Any] = {"state": RequestState.RUNNING.value}
        if parameters is not None:
            changes["parameters"] = dict(parameters)
        WorkerRequest.objects.filter(id=request.id).update(**changes)
    request.refresh_from_db()
    return request


def mark_running(request_id: int, step: str | None = None) -> bool:
    """Record that a request is being carried out, and at which step; return whether it is still open."""
    changes = {"state": RequestState.RUNNING.value} | ({} if step is None else {"step": step})
    return bool(open_requests().filter(id=request_id).update(**changes))


def finish_request(request_id: int, error: str = "") -> bool:
    """Record that an open request is done or, with `error`, failed; return whether it was still open.

    The worker's record gets an event, `done` or `failed`; a job's removal has its own events.
    """
    state = RequestState.FAILED if error else RequestState.DONE
    with transaction.atomic():
        request = WorkerRequest.objects.get(id=request_id)
        finished = (
            open_requests()
            .filter(id=request_id)
            .update(state=state.value, error=error, finished_at=timezone.now())
        )
        if finished:
            JobEvent.objects.create(
                worker_id=request.worker_id,
                job_id=request.job_id,
                kind=state.value,
                actor=request.actor,
                data={"text": error} if error else {"what": request.kind},
            )
    return bool(finished)


def latest_failure(worker: Worker) -> WorkerRequest | None:
    """Return the failed request that was the last to concern the worker's machine, unless one followed it."""
    last = worker.requests.exclude(kind=RequestKind.REMOVE_JOB).exclude(state=RequestState.REPLACED).last()
    return last if last is not None and last.state == RequestState.FAILED else None


ais_open = sync_to_async(is_open)
aadd_request = sync_to_async(add_request)
arecord_command = sync_to_async(record_command)
abegin_operation = sync_to_async(begin_operation)
amark_running = sync_to_async(mark_running)
afinish_request = sync_to_async(finish_request)
areplace_requests = sync_to_async(replace_requests)
