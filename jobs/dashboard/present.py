"""Words, signs and tones for states, verdicts and severities, the same on every page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.providers.base import Severity
from jobs.states import Attention, DraftState, JobState, TaskState, Verdict, WorkerState


@dataclass(frozen=True)
class Mark:
    """A state as an icon of the sprite, a word and a tone: colour is never the only sign."""

    icon: str
    word: str
    tone: str


MarkTable = Mapping[str, tuple[str, str, str]]

JOB_STATES: MarkTable = {
    JobState.QUEUED: ("clock", "queued", "quiet"),
    JobState.PREPARING: ("spin", "preparing", "busy"),
    JobState.RUNNING: ("spin", "running", "busy"),
    JobState.CANCELLING: ("stop", "cancelling", "warn"),
    JobState.SUCCEEDED: ("done", "finished", "quiet"),
    JobState.FAILED: ("cross", "failed", "bad"),
    JobState.CANCELLED: ("stop", "cancelled", "quiet"),
    JobState.INTERRUPTED: ("bolt", "interrupted", "warn"),
}
# a job at work on a worker that does not answer
OUT_OF_REACH = Mark("cross", "unreachable", "bad")
OPEN = Mark("terminal", "open", "good")  # a shell that stays until it is removed
WAS_RUNNING = Mark("dot", "was running", "quiet")
TASK_STATES: MarkTable = {
    TaskState.PENDING: ("dot", "pending", "quiet"),
    TaskState.RUNNING: ("spin", "running", "busy"),
    TaskState.SUCCEEDED: ("check", "succeeded", "good"),
    TaskState.FAILED: ("cross", "failed", "bad"),
    TaskState.SKIPPED: ("skip", "skipped", "quiet"),
    TaskState.CANCELLED: ("stop", "cancelled", "quiet"),
    TaskState.INTERRUPTED: ("bolt", "interrupted", "warn"),
}
VERDICTS: MarkTable = {
    Verdict.PASS: ("check", "pass", "good"),
    Verdict.NEEDS_WORK: ("alert", "needs work", "warn"),
    Verdict.FAIL: ("cross", "fail", "bad"),
}
WORKER_STATES: MarkTable = {
    WorkerState.ABSENT: ("dot", "absent", "quiet"),
    WorkerState.CREATING: ("spin", "creating", "busy"),
    WorkerState.BOOTING: ("spin", "booting", "busy"),
    WorkerState.READY: ("check", "ready", "good"),
    WorkerState.STOPPING: ("stop", "stopping", "warn"),
    WorkerState.STOPPED: ("stop", "stopped", "quiet"),
    WorkerState.DELETING: ("stop", "deleting", "warn"),
    WorkerState.UNREACHABLE: ("cross", "unreachable", "bad"),
}
# what a job that has not ended waits for
ATTENTIONS: MarkTable = {
    Attention.INPUT: ("alert", "input", "warn"),
    Attention.APPROVAL: ("alert", "approval", "warn"),
    Attention.LIMIT: ("alert", "limit", "warn"),
}
# outcome of a forge's check, the worst first
CHECKS: MarkTable = {
    "failure": ("cross", "failed", "bad"),
    "pending": ("spin", "not finished", "busy"),
    "success": ("check", "passed", "good"),
}
# outcome of a check of `offload doctor`
CHECK_RESULTS: MarkTable = {
    Severity.PASS: ("check", "pass", "good"),
    Severity.WARN: ("alert", "warning", "warn"),
    Severity.FAIL: ("cross", "failed", "bad"),
}
DRAFTS: MarkTable = {
    DraftState.OPEN: ("dot", "waits for your yes", "quiet"),
    DraftState.APPROVED: ("clock", "is sent soon", "busy"),
    DraftState.SENDING: ("spin", "sending", "busy"),
    DraftState.SENT: ("check", "sent", "good"),
    DraftState.DROPPED: ("stop", "dropped", "quiet"),
    # an attempt that failed: before it posted anything, and with an unknown outcome
    "not_sent": ("cross", "not sent", "bad"),
    "unknown": ("alert", "may be posted", "warn"),
}
# severity -> (icon, tone), the most severe first
SEVERITIES: Mapping[str, tuple[str, str]] = {
    "error": ("cross", "bad"),
    "warning": ("alert", "warn"),
    "note": ("dot", "quiet"),
}


def mark_of(table: MarkTable, key: str) -> Mark:
    """Return the mark of a state; a neutral one for a state that the table does not have."""
    return Mark(*table.get(key, ("dot", key or "unknown", "quiet")))
