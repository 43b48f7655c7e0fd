"""A job as pages show it: words, icons, order. Reads rows, writes nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone

from jobs.dashboard.present import (
    JOB_STATES,
    OPEN,
    OUT_OF_REACH,
    SEVERITIES,
    TASK_STATES,
    VERDICTS,
    WAS_RUNNING,
    Mark,
    mark_of,
)
from jobs.formats import format_duration
from jobs.models import Job, JobEvent
from jobs.serializers import attention_text, headline, is_open, is_out_of_reach
from jobs.states import Attention, JobState, TaskState

_TASK_ENDED = frozenset({"succeeded", "failed", "skipped", "cancelled"})
_LOG_EXISTS = frozenset({"running", "succeeded", "failed", "cancelled", "interrupted"})


@dataclass(frozen=True)
class TaskView:
    """One row of the tasks table. `since`: RFC 3339 while the task runs, the page counts from it."""

    id: str
    name: str
    command: str
    state: str
    mark: Mark
    exit_code: int | None
    seconds: str
    since: str
    needs: Sequence[str]
    reason: str
    tail: str
    has_log: bool


def _present_task(task: Mapping[str, Any], names: Mapping[str, str]) -> TaskView:
    state = str(task.get("state", ""))
    # A task that never started has no log to link to.
    started = task.get("seconds") is not None or task.get("started_at") or task.get("exit_code") is not None
    return TaskView(
        id=task["id"],
        name=names[task["id"]],
        command=task.get("command") or "",
        state=state,
        mark=mark_of(TASK_STATES, state),
        exit_code=task.get("exit_code"),
        seconds=format_duration(task.get("seconds")),
        since=str(task.get("started_at") or "") if state == TaskState.RUNNING else "",
        needs=list(dict.fromkeys(names.get(need, need) for need in task.get("needs") or ())),
        reason=str(task.get("reason") or "").replace("_", " "),
        tail=task.get("tail") or "" if state == TaskState.FAILED else "",
        has_log=state in _LOG_EXISTS and (state == TaskState.RUNNING or bool(started)),
    )


@dataclass(frozen=True)
class Finding:
    """One finding of the verdict. `task`: the task whose log shows it, when there is such a log.

    `number`: its place in the job's list. `opinion`: an agent says so, and its place was not verified.
    """

    severity: str
    icon: str
    tone: str
    message: str
    task: str
    place: str
    number: int
    opinion: bool = False


def _present_finding(number: int, item: Mapping[str, Any], logs: frozenset[str]) -> Finding:
    severity = str(item.get("severity") or "note")
    icon, tone = SEVERITIES.get(severity, ("dot", "quiet"))
    place = str(item.get("file") or "")
    if place and item.get("line"):
        place = f"{place}:{item['line']}"
    task = str(item.get("task") or "")
    message, log = str(item.get("message") or ""), task if task in logs else ""
    return Finding(severity, icon, tone, message, log, place, number, bool(item.get("opinion")))


@dataclass(frozen=True)
class JobView:
    """A job as its row and its page show it."""

    job: Job
    tasks: Sequence[TaskView] = field(default_factory=list)

    @classmethod
    def of(cls, job: Job) -> JobView:
        """Present a job whose repository and worker are loaded."""
        names = {task["id"]: str(task.get("name") or task["id"]) for task in job.tasks}
        tasks = [_present_task(task, names) for task in job.tasks]
        if is_out_of_reach(job):  # nothing is known to run
            tasks = [replace(t, mark=WAS_RUNNING, since="", seconds="") if t.since else t for t in tasks]
        return cls(job, tasks)

    @property
    def state(self) -> Mark:
        """Return the job's state as a mark; it is not known while its worker does not answer."""
        if is_out_of_reach(self.job):
            return OUT_OF_REACH
        if is_open(self.job):
            return OPEN
        return mark_of(JOB_STATES, self.job.state)

    @property
    def verdict(self) -> Mark | None:
        """Return the verdict as a mark, or None without one."""
        return mark_of(VERDICTS, self.job.verdict) if self.job.verdict else None

    @property
    def chip(self) -> Mark:
        """Return what a list shows of the job: its verdict, else its state."""
        return self.verdict if self.verdict and self.job.state == JobState.SUCCEEDED else self.state

    @property
    def attention(self) -> str:
        """Return why a person is needed, in words; empty when no person is."""
        return attention_text(self.job)

    @property
    def sentence(self) -> str:
        """Return the state's reason as a sentence, with the observation behind it."""
        return " ".join(part for part in (self.job.reason_text, self.job.reason_detail) if part)

    @property
    def summary(self) -> str:
        """Return what the job's page says first: what the verdict rests on, else the state's reason."""
        if is_out_of_reach(self.job):
            return f"{self.headline}. {self.job.worker.state_detail}".strip()
        if not self.job.verdict or self.job.state != JobState.SUCCEEDED:
            return self.sentence
        serious = [finding for finding in self.findings if finding.severity != "note"]
        if not serious:
            return "Nothing was found that needs work."
        return serious[0].message + (f" And {len(serious) - 1} more." if serious[1:] else "")

    @property
    def headline(self) -> str:
        """Return the reason in one line."""
        return headline(self.job)

    @property
    def short_sha(self) -> str:
        """Return the head commit, shortened."""
        return self.job.sha[:10]

    @property
    def short_fixed(self) -> str:
        """Return the commit of a fix that the verdict is about, shortened; empty when it is the head."""
        return self.job.fixed_sha[:10]

    @property
    def short_base(self) -> str:
        """Return the base commit, shortened."""
        return self.job.base_sha[:10]

    @property
    def base(self) -> str:
        """Return the base branch's short name."""
        return self.job.base_ref.removeprefix("refs/heads/")

    @property
    def short_moved(self) -> str:
        """Return the newer head commit, shortened."""
        return self.job.moved_to[:10]

    @property
    def tasks_done(self) -> int:
        """Return how many tasks have ended."""
        return sum(task.state in _TASK_ENDED for task in self.tasks)

    @property
    def progress_tone(self) -> str:
        """Return `bad` as soon as one task failed, else `good`."""
        return "bad" if any(task.state == TaskState.FAILED for task in self.tasks) else "good"

    @property
    def findings(self) -> list[Finding]:
        """Return the findings, the most severe first."""
        order = list(SEVERITIES)
        logs = frozenset(task.id for task in self.tasks if task.has_log)
        found = [_present_finding(number, item, logs) for number, item in enumerate(self.job.findings)]
        return sorted(found, key=lambda f: order.index(f.severity) if f.severity in order else len(order))

    @property
    def since(self) -> str:
        """Return the start in RFC 3339 while the job is at work: the page counts from it."""
        at_work = self.job.state in (JobState.RUNNING, JobState.CANCELLING)
        counts = at_work and not is_out_of_reach(self.job)
        return self.job.started_at.isoformat() if counts and self.job.started_at else ""

    @property
    def duration(self) -> str:
        """Return how long the job took, or has taken so far."""
        if self.job.started_at is None:
            return ""
        now = self.job.observed_at if is_out_of_reach(self.job) else timezone.now()
        end = self.job.finished_at or (now if self.job.is_active else None)
        # A job that was queued again has an end before its new start: no duration is known yet.
        if end is None or end < self.job.started_at:
            return ""
        return format_duration((end - self.job.started_at).total_seconds())

    @property
    def when(self) -> datetime:
        """Return the moment that a list shows: the end, else the start, else the submission."""
        return self.job.finished_at or self.job.started_at or self.job.created_at

    @property
    def target_url(self) -> str:
        """Return the target's page on its forge, or an empty text when it has no web address."""
        return self.job.url if urlsplit(self.job.url).scheme in ("http", "https") else ""

    @property
    def shows_progress(self) -> bool:
        """Return whether some tasks have not ended yet."""
        return self.job.is_active and bool(self.tasks) and self.tasks_done < len(self.tasks)

    @property
    def asks_for_trust(self) -> bool:
        """Return whether the job waits for the permission to run its repository's code without isolation."""
        return self.job.attention == Attention.APPROVAL and self.job.state in (
            JobState.QUEUED,
            JobState.PREPARING,
        )

    @property
    def can_cancel(self) -> bool:
        """Return whether the job can be cancelled."""
        return self.job.is_active and self.job.state != JobState.CANCELLING

    @property
    def can_resume(self) -> bool:
        """Return whether the job can be resumed or retried."""
        return self.job.can_resume

    @property
    def can_run_again(self) -> bool:
        """Return whether the job has ended for good and can be run again from its start."""
        return self.job.has_ended and not self.can_resume

    @property
    def next_action(self) -> str:
        """Return the button that comes first: what most likely is to be done with the job now; maybe none."""
        if self.can_resume:
            return "resume"
        if is_out_of_reach(self.job):
            return ""
        if self.can_run_again and self.job.is_stale:
            return "again"
        if self.has_session and (not self.job.verdict or self.job.is_active):
            return "terminal"
        return "diff" if self.job.sha and self.job.has_ended else ""

    @property
    def can_remove(self) -> bool:
        """Return whether the job's files are still on its worker."""
        return self.job.removed_at is None

    @property
    def has_session(self) -> bool:
        """Return whether there is a session to attach to."""
        return bool(self.job.worktree) and self.job.removed_at is None


def event_text(event: JobEvent) -> str:
    """Return one line of the timeline for an event."""
    data = event.data
    task = data.get("task", "")
    texts = {
        "submitted": lambda: "Submitted",
        "state": lambda: (
            str(data.get("state", "")).replace("_", " ").capitalize()
            + (f": {data['detail']}" if data.get("detail") else "")
        ),
        "prepared": lambda: f"Worktree prepared at {str(data.get('sha', ''))[:10]}",
        "started": lambda: "Resumed" if data.get("resumed") else "Started",
        "task_started": lambda: f"{task} started",
        "task_finished": lambda: (
            f"{task} {data.get('state', 'ended')}"
            + (f", exit code {data['exit_code']}" if data.get("exit_code") not in (None, 0) else "")
            + (f", {format_duration(data['seconds'])}" if data.get("seconds") is not None else "")
        ),
        "attention": lambda: f"Attention: {data.get('attention') or 'none'} {data.get('detail', '')}".strip(),
        "notified": lambda: (
            f"You were notified: {data.get('kind')}"
            if not data.get("error")
            else f"Notifying you failed: {data['error']}"
        ),
        "note": lambda: str(data.get("text", "")),
        "model_call": lambda: (
            f"{task} called {data.get('model') or data.get('api')}: {data.get('input')} tokens in, "
            f"{data.get('output')} out" + (f" ({data['error']})" if data.get("error") else "")
        ),
        "model_limit": lambda: (
            f"{task} met a limit of {data.get('api')} (status {data.get('status')})"
            + (f", until {data['until']}" if data.get("until") else "")
        ),
        "agent_answer": lambda: (
            {"send": "Sent to the agent", "approve": "Approved", "deny": "Denied"}.get(
                str(data.get("answer")), "Answered"
            )
            + (f": {data['text']}" if data.get("text") else "")
            + f", for {data.get('actor') or 'an unknown person'}"
        ),
        "agent_state": lambda: f"The agent of {task}: {data.get('state')} {data.get('detail', '')}".strip(),
        "draft": lambda: (
            f"Draft {data.get('draft')} ({str(data.get('kind', '')).replace('_', ' ')}) "
            + {"failed": "was not sent"}.get(str(data.get("state")), f"was {data.get('state')}")
        ),
        "finished": lambda: f"Finished, verdict {str(data.get('verdict') or 'none').replace('_', ' ')}",
        "head_moved": lambda: f"The head moved to {str(data.get('to', ''))[:10]}",
        "removed": lambda: (
            "Removed from the worker"
            + (f"; rescued work: {data['bundle']}" if data.get("bundle") else "")
            + "".join(f". {note}" for note in data.get("notes") or ())
        ),
    }
    make = texts.get(event.kind)
    return make() if make else event.kind.replace("_", " ").capitalize()  # type: ignore[no-untyped-call]
