"""Why a job stands where it does, in one line, and the group of a list that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo

from jobs.formats import format_until
from jobs.models import Job
from jobs.states import ATTENTION_TEXT, Attention, JobState, TaskState, Verdict, WorkerState

# Key -> heading, in the order of every list. `jobs.dashboard.inbox` has the same rule as a query.
GROUPS: Mapping[str, str] = {
    "needs-you": "Needs you",
    "ready": "Ready to act",
    "running": "Running",
    "queued": "Queued",
    "done": "Done",
}
SEVERITIES = ("error", "warning", "note")  # the most severe first


def group_of(job: Job) -> str:
    """Return the key of the one group in `GROUPS` that a job belongs to."""
    state = JobState(job.state)
    if job.removed_at is not None:
        return "done"
    if state in (JobState.INTERRUPTED, JobState.FAILED) or (job.attention and not _waits_for_worker(job)):
        return "needs-you"
    if state == JobState.SUCCEEDED and job.verdict != Verdict.NONE:
        return "ready"
    if state == JobState.QUEUED:
        return "queued"
    return "running" if job.is_active or is_open(job) else "done"


def is_open(job: Job) -> bool:
    """Return whether a job is a shell that stays open until it is removed: its plan has ended."""
    return job.action == "open" and job.state == JobState.SUCCEEDED and job.removed_at is None


def _waits_for_worker(job: Job) -> bool:
    """Return whether a queued job met an error: it is tried again, and no person is needed for that."""
    return job.state == JobState.QUEUED and job.attention == Attention.ERROR


def attention_text(job: Job, zone: tzinfo = UTC) -> str:
    """Return why a person is needed, in words, with times of that zone; empty when no person is."""
    if _waits_for_worker(job):
        return "waits for a problem to be solved"
    return f"{ATTENTION_TEXT[Attention(job.attention)]} {format_until(job.attention_until, zone)}".strip()


def headline(job: Job, zone: tzinfo = UTC) -> str:
    """Return the reason in one line: the worst finding, what is awaited, what runs, or the state's reason."""
    if job.verdict and job.findings:
        return str(min(job.findings, key=_rank).get("message") or "")
    # The state's reason says more of a job that has ended than that it has an error.
    says_more = job.has_ended and job.attention == Attention.ERROR
    if (attention := attention_text(job, zone)) and not says_more:
        return f"{attention[0].upper()}{attention[1:]}. {job.reason_detail}".strip()
    if is_out_of_reach(job):
        return f"{job.worker} is not reachable. Last seen: {_running(job) or job.reason_text}"
    if job.state == JobState.RUNNING:
        return _running(job)
    return "" if job.verdict else f"{job.reason_text} {job.reason_detail}".strip()


def is_out_of_reach(job: Job) -> bool:
    """Return whether a job is at work on a worker that does not answer: what is known of it is old."""
    at_work = job.is_active and job.state != JobState.QUEUED
    return at_work and job.worker.state == WorkerState.UNREACHABLE


def _running(job: Job) -> str:
    """Return the names of the tasks that run."""
    running = (task for task in job.tasks if task.get("state") == TaskState.RUNNING)
    return ", ".join(str(task.get("name") or task["id"]) for task in running)


def _rank(finding: Mapping[str, object]) -> int:
    severity = finding.get("severity")
    return SEVERITIES.index(str(severity)) if severity in SEVERITIES else len(SEVERITIES)
