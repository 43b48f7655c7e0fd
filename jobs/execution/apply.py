"""Journal events and observations become rows. Applying the same thing twice changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DataError, transaction
from django.utils import timezone

from jobs.execution.secrets import OPEN
from jobs.models import Job, JobEvent
from jobs.remote.offload_runner import protocol
from jobs.states import Attention, JobState, Reason, TaskState, Verdict, WorkerDesired, WorkerState
from jobs.transitions import move_job, set_attention

# How old a look without the job's files, or at a machine that goes down, may be when it is applied.
START_GRACE = timedelta(seconds=10)
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, DataError)


def apply_events(job_id: int, events: Sequence[Mapping[str, Any]]) -> int:
    """Apply journal events of one job, in order; return how many were new.

    Numbers at or below the last one applied are skipped. A gap is not crossed: the events after it come
    again with the next reading. A malformed event becomes a note: on a bare worker a job can write them.
    """
    applied = 0
    with transaction.atomic():
        job = Job.objects.select_for_update().get(id=job_id)
        for event in events:
            if event["seq"] <= job.journal_seq:
                continue
            if event["seq"] != job.journal_seq + 1:
                break
            try:
                with transaction.atomic():
                    _check_types(event)
                    _apply(job, event)
            except (
                KeyError,
                TypeError,
                ValueError,
                AttributeError,
                OverflowError,
                RecursionError,
                DataError,
            ) as error:
                said = f"Event {event['seq']} of the journal is malformed and was left out: {error!r}"[:300]
                JobEvent.objects.create(
                    job=job,
                    seq=event["seq"],
                    at=timezone.now(),
                    kind=protocol.NOTE,
                    data={"text": said.encode("ascii", "backslashreplace").decode()},
                )
            job.journal_seq = event["seq"]
            applied += 1
        if applied:
            Job.objects.filter(id=job_id).update(
                journal_seq=job.journal_seq,
                tasks=job.tasks,
                findings=job.findings,
                started_at=job.started_at,
            )
    return applied


def apply_start(job_id: int, events: Sequence[Mapping[str, Any]]) -> None:
    """Apply that a launch has started a job, with the events up to that start; a look applies those after it.

    In one step: a sighting from before the start has a lower event number then, and says nothing.
    """
    with transaction.atomic():
        preparing = frozenset({JobState.PREPARING})
        now = timezone.now()
        move_job(job_id, JobState.RUNNING, reason=Reason.STARTED, sources=preparing, started_at=now)
        started = max((event["seq"] for event in events if event["kind"] == protocol.STARTED), default=0)
        if Job.objects.get(id=job_id).state != JobState.INTERRUPTED:
            apply_events(job_id, [event for event in events if event["seq"] <= started])


_COMMIT = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NUMBER = (int, float, type(None))
_TEXT = (str, type(None))
# What pages and commands show of an event, of its tasks and of its findings.
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("task", "reason", "tail", "detail", "verdict", "text", "name", "role", "command"), _TEXT
    ),
    **dict.fromkeys(("severity", "message", "file", "error", "model", "api", "until"), _TEXT),
    "judged_sha": _TEXT,
    **dict.fromkeys(("since", "evidence", "source", "answer", "actor"), _TEXT),
    **dict.fromkeys(("kind", "state", "id", "attention"), (str,)),
    **dict.fromkeys(("exit_code", "seconds", "line", "attempt", "status"), _NUMBER),
    "needs": (list,),
    "opinion": (bool,),
    "proof": (bool, type(None)),
}


def _check_types(event: Mapping[str, Any]) -> None:
    """Raise `TypeError` or `ValueError` for an event that would break who shows it."""
    json.dumps(event, ensure_ascii=False).encode()  # half a surrogate pair could not be sent to a browser
    items = [*(event.get("tasks") or ()), *(event.get("findings") or ())]
    for part in (event, *items):
        if not isinstance(part, Mapping):
            raise TypeError("a task or finding is not a table")
        for name, types in _TYPES.items():
            if name in part and not isinstance(part[name], types):
                raise TypeError(f"{name} is of the type {type(part[name]).__name__}")
    if event["kind"] == protocol.TASK_FINISHED:
        TaskState(event["state"])


def _apply(job: Job, event: Mapping[str, Any]) -> None:
    at = _moment(event["at"])
    data = {key: value for key, value in event.items() if key not in ("seq", "at", "kind")}
    JobEvent.objects.create(job=job, seq=event["seq"], at=at, kind=event["kind"], data=data)
    kind = event["kind"]
    if kind == protocol.STARTED:
        _apply_started(job, event, at)
    elif kind in (protocol.TASK_STARTED, protocol.TASK_FINISHED):
        _apply_task(job, event, at)
    elif kind == protocol.ATTENTION:
        set_attention(job.id, Attention(event["attention"]), detail=event.get("detail", ""))
    elif kind == protocol.MODEL_LIMIT:
        until = _moment(event["until"]) if event["until"] else None
        sources = frozenset({Attention.NONE, Attention.LIMIT})
        set_attention(job.id, Attention.LIMIT, until=until, sources=sources)
    elif kind == protocol.AGENT_STATE and event.get("source"):
        _apply_waiting(job, event)
    elif kind == protocol.MODEL_CALL and event["status"] == HTTPStatus.OK:
        _end_limit(job)
    elif kind == protocol.FINISHED:
        job.findings = event.get("findings") or []
        move_job(
            job.id,
            JobState(event["state"]),
            reason=Reason(event.get("reason") or Reason.FINISHED),
            detail=event.get("detail") or "",
            verdict=Verdict(event.get("verdict") or ""),
            judged_sha=_commit(event.get("judged_sha")),
            proof=event.get("proof"),
            finished_at=at,
        )


def _moment(text: str) -> datetime:
    """Return a time of the journal, in UTC. Raises `ValueError` or `OverflowError`."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone")
    return moment.astimezone(UTC)


def _commit(text: str | None) -> str:
    """Return the name of a commit as it is, "" for none. Raises `ValueError` for what is no such name."""
    if text and not _COMMIT.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is not a commit")
    return text or ""


_WAITS = {protocol.NEEDS_INPUT: Attention.INPUT, protocol.NEEDS_APPROVAL: Attention.APPROVAL}


def _apply_waiting(job: Job, event: Mapping[str, Any]) -> None:
    """Note that an agent with a terminal waits for a person, or does not any more."""
    waits = _WAITS.get(event["state"], Attention.NONE)
    said = "The agent waits for input." if waits is Attention.INPUT else "The agent waits for approval."
    detail = f"{said} {event.get('detail') or ''}".strip() if waits else ""
    sources = frozenset({Attention.NONE, Attention.INPUT, Attention.APPROVAL})
    set_attention(job.id, waits, detail=detail, sources=sources)


def _end_limit(job: Job) -> None:
    set_attention(job.id, Attention.NONE, sources=frozenset({Attention.LIMIT}))


def _apply_started(job: Job, event: Mapping[str, Any], at: datetime) -> None:
    job.started_at = job.started_at or at
    again = {task["id"] for task in event.get("tasks", ()) if task.get("state") == protocol.PENDING}
    for task in job.tasks:
        if task["id"] in again:
            task.update(state=protocol.PENDING, exit_code=None, seconds=None, reason="", tail="")
            task["started_at"] = None
        elif task["state"] == protocol.RUNNING:
            task["state"] = protocol.INTERRUPTED
    if not job.tasks:
        job.tasks = [
            {
                "id": task["id"],
                "name": task["name"],
                "role": task.get("role", ""),
                "command": task.get("command", ""),
                "needs": task.get("needs", []),
                "state": protocol.PENDING,
                "exit_code": None,
                "seconds": None,
                "reason": "",
                "tail": "",
                "started_at": None,
            }
            for task in event.get("tasks", ())
        ]
    resumed = Reason.RESUMED if event.get("resumed") else Reason.STARTED
    move_job(
        job.id,
        JobState.RUNNING,
        reason=resumed,
        sources=frozenset({JobState.PREPARING, JobState.INTERRUPTED}),
        started_at=at,
    )


def _apply_task(job: Job, event: Mapping[str, Any], at: datetime) -> None:
    task = next((task for task in job.tasks if task["id"] == event["task"]), None)
    if task is None:
        task = {"id": event["task"], "name": event["task"], "role": "", "command": "", "needs": []}
        job.tasks.append(task)
    if event["kind"] == protocol.TASK_STARTED:
        task.update(state=protocol.RUNNING, started_at=at.isoformat(), exit_code=None, seconds=None)
    else:
        _end_limit(job)
        if job.action == OPEN and task["role"] == "agent":
            set_attention(job.id, Attention.NONE, sources=frozenset({Attention.INPUT, Attention.APPROVAL}))
        task.update(
            state=event["state"],
            exit_code=event.get("exit_code"),
            seconds=event.get("seconds"),
            reason=event.get("reason") or "",
            tail=event.get("tail") or "",
        )


def apply_status(job_id: int, status: Mapping[str, Any]) -> None:
    """Apply what was seen of a job on its worker: is its runner alive, is its session there?

    A job that was at work and has no runner any more, with every journal event applied, is `interrupted`.
    A sighting from before or after the events that we know says nothing: the next one will.
    """
    now = timezone.now()
    Job.objects.filter(id=job_id).update(observed_at=now)
    job = Job.objects.get(id=job_id)
    if status.get("alive") and job.state == JobState.INTERRUPTED:
        if _is_going_down(job, now):
            return
        # A user resumed it by hand, or an older sighting was applied after a newer one.
        move_job(job_id, JobState.RUNNING, reason=Reason.RESUMED, attention=Attention.NONE)
        return
    if job.state != JobState.RUNNING or status.get("alive"):
        return
    if (status.get("seq") or 0) != job.journal_seq:
        return
    lost = Reason.RUNNER_LOST if status.get("tmux") else Reason.SESSION_LOST
    interrupt(
        job,
        lost,
        # Every interface shows when that was, in the zone of its reader.
        detail="No runner holds the job's lock; "
        f"the tmux session is {'there' if status.get('tmux') else 'gone'}.",
    )


def _is_going_down(job: Job, now: datetime) -> bool:
    """Tell whether the machine of a job that still lives was asked to go down."""
    if job.reason == Reason.WORKER_STOPPED:
        return job.worker.desired != WorkerDesired.UP
    just_now = job.finished_at is not None and now - job.finished_at < START_GRACE
    return job.reason == Reason.WORKER_CHANGED and (just_now or job.worker.state != WorkerState.READY)


def end_cancelling(worker_id: int, detail: str) -> None:
    """Have the jobs that are being cancelled on a worker be so: nothing runs on a machine that is down."""
    for job in Job.objects.filter(worker_id=worker_id, removed_at__isnull=True, state=JobState.CANCELLING):
        move_job(job.id, JobState.CANCELLED, reason=Reason.CANCELLED_BY_USER, detail=detail)


def interrupt(job: Job, reason: Reason, detail: str = "") -> None:
    """Move a job that no runner works on any more, with the tasks that were at work."""
    with transaction.atomic():
        if not move_job(
            job.id, JobState.INTERRUPTED, reason=reason, detail=detail, attention=Attention.ERROR
        ):
            return
        row = Job.objects.select_for_update().get(id=job.id)
        for task in row.tasks:
            if task["state"] == protocol.RUNNING:
                task["state"] = protocol.INTERRUPTED
        Job.objects.filter(id=job.id).update(tasks=row.tasks)


def apply_missing(job_id: int, looked_at: datetime) -> None:
    """Apply that the worker had no files for this job when it was looked at."""
    job = Job.objects.get(id=job_id)
    if job.state not in (JobState.RUNNING, JobState.CANCELLING):
        return
    if job.started_at is not None and looked_at - job.started_at < START_GRACE:
        return
    if job.state == JobState.CANCELLING:
        move_job(job_id, JobState.CANCELLED, reason=Reason.JOB_FILES_LOST)
        return
    interrupt(job, Reason.JOB_FILES_LOST)


aapply_events = sync_to_async(apply_events)
aapply_start = sync_to_async(apply_start)
aapply_status = sync_to_async(apply_status)
aapply_missing = sync_to_async(apply_missing)
