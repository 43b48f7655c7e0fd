"""What is known of a job's state, of its attention and of its agent, and from where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from asgiref.sync import sync_to_async

from jobs.execution.secrets import OPEN
from jobs.models import Job, JobEvent
from jobs.remote.offload_runner import protocol
from jobs.states import Attention, JobState, TaskState

NOT_STARTED = "not_started"
STARTING = "starting"
UNKNOWN = "unknown"
_EVIDENCE = 500
# What the state of its task says of an agent that is not at work; of one at work its events say more.
_OF_TASK = {
    TaskState.PENDING: NOT_STARTED,
    TaskState.SUCCEEDED: protocol.AGENT_DONE,
    TaskState.FAILED: protocol.AGENT_FAILED,
}


@dataclass(frozen=True)
class Known:
    """One thing that is known of a job. `source`: from where; `evidence`: the event that says so, as it is.

    `detail`: more about it (which tool); `since`: when that began; `until`: when it ends, if that is known.
    """

    value: str
    source: str
    since: datetime | None = None
    detail: str = ""
    evidence: str = ""
    until: datetime | None = None


@dataclass(frozen=True)
class Account:
    """What is known of a job. `no_input`: why nothing can be typed to its agent, empty: it can."""

    state: Known
    attention: Known | None = None
    agent: Known | None = None
    no_input: str = "It has no agent."


@sync_to_async
def read_account(job: Job) -> Account:
    """Return what is known of a job: from its row, and from its newest event of each kind."""
    event = _newest(job.id)
    source = f"the journal on {job.worker} (event {job.journal_seq})" if event else "the database"
    state = Known(job.state, source, event.at if event else None, job.reason_text, _evidence(event))
    attention, agent = _attention(job), _agent(job)
    if agent is None:
        return Account(state, attention)
    return Account(state, attention, agent, _why_no_input(job, agent))


def _why_no_input(job: Job, agent: Known) -> str:
    if job.action != OPEN:
        return "Its agent runs without a terminal and takes no input."
    if job.state != JobState.RUNNING:
        return f"Its agent does not run: the job is {job.state}."
    if agent.value == protocol.NEEDS_INPUT or agent.value == protocol.NEEDS_APPROVAL:
        return ""
    return f"Its agent does not wait: its state is {agent.value.replace('_', ' ')}."


def _attention(job: Job) -> Known | None:
    if not job.attention:
        return None
    is_limit = job.attention == Attention.LIMIT
    event = _newest(job.id, protocol.MODEL_LIMIT if is_limit else protocol.ATTENTION)
    source = "the gateway to its model" if is_limit else "the journal"
    since = event.at if event else None
    return Known(job.attention, source, since, evidence=_evidence(event), until=job.attention_until)


def _agent_task(job: Job) -> dict[str, Any] | None:
    """Return the task of a job's agent: of several, one for each round, the last that has begun."""
    tasks = [task for task in job.tasks if task.get("role") in ("agent", "fix")]
    begun = [task for task in tasks if task["state"] not in (TaskState.PENDING, TaskState.SKIPPED)]
    return begun[-1] if begun else next(iter(tasks), None)


def _agent(job: Job) -> Known | None:
    task = _agent_task(job)
    if task is None:
        return None
    if task["state"] != TaskState.RUNNING:
        event = _newest(job.id, protocol.TASK_FINISHED, task["id"])
        value = str(_OF_TASK.get(task["state"], task["state"]))
        since = event.at if event else None
        return Known(value, "its task", since, task["reason"], _evidence(event), _limit_of(job, task))
    if job.state != JobState.RUNNING:
        return Known(UNKNOWN, "the state of the job", detail=f"the job is {job.state}")
    started = _newest(job.id, protocol.TASK_STARTED, task["id"])
    said = _newest(job.id, protocol.AGENT_STATE, task["id"], after=started.id if started else 0)
    at_work = said is None or said.data.get("state") in (protocol.THINKING, protocol.TOOL)
    if job.attention == Attention.LIMIT and (at_work or job.action != OPEN):
        return _attention(job)
    if said is None:
        return Known(STARTING, "its process", started.at if started else None, "", _evidence(started))
    told = {name: str(said.data.get(name) or "") for name in ("state", "detail", "since", "evidence")}
    since = _moment(told["since"]) or said.at
    source = str(said.data.get("source") or "its events")
    until = job.attention_until if told["state"] == protocol.AT_LIMIT else None
    return Known(told["state"], source, since, told["detail"], told["evidence"], until)


def _limit_of(job: Job, task: Mapping[str, Any]) -> datetime | None:
    """Return when the limit ends at which a failed agent was refused; None when it was not that."""
    if task["state"] != TaskState.FAILED:
        return None
    limit = _newest(job.id, protocol.MODEL_LIMIT, task["id"])
    if limit is None:
        return None
    after = JobEvent.objects.filter(job_id=job.id, id__gt=limit.id, kind=protocol.MODEL_CALL)
    answered = after.filter(data__task=task["id"], data__status=HTTPStatus.OK).exists()
    return None if answered else _moment(str(limit.data.get("until") or ""))


def _newest(job_id: int, kind: str = "", task: str = "", after: int = 0) -> JobEvent | None:
    events = JobEvent.objects.filter(job_id=job_id, id__gt=after)
    events = events.filter(kind=kind) if kind else events.filter(seq__isnull=False)
    events = events.filter(data__task=task) if task else events
    return events.order_by("-id").first()


def _evidence(event: JobEvent | None) -> str:
    if event is None:
        return ""
    return json.dumps({"kind": event.kind, **event.data}, ensure_ascii=False)[:_EVIDENCE]


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None
