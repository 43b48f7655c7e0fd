"""What pages show of a job: words, icons, order. Reads rows, writes nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from jobs.formats import format_duration
from jobs.models import Job, JobEvent
from jobs.states import Attention, JobState, TaskState, Verdict

# state or verdict -> (icon of the sprite, word, tone of the colour)
STATES: dict[str, tuple[str, str, str]] = {
    JobState.QUEUED: ("clock", "queued", "quiet"),
    JobState.PREPARING: ("spin", "preparing", "busy"),
    JobState.RUNNING: ("spin", "running", "busy"),
    JobState.CANCELLING: ("stop", "cancelling", "warn"),
    JobState.SUCCEEDED: ("done", "finished", "quiet"),
    JobState.FAILED: ("cross", "failed", "bad"),
    JobState.CANCELLED: ("stop", "cancelled", "quiet"),
    JobState.INTERRUPTED: ("bolt", "interrupted", "warn"),
}
TASKS: dict[str, tuple[str, str, str]] = {
    TaskState.PENDING: ("dot", "pending", "quiet"),
    TaskState.RUNNING: ("spin", "running", "busy"),
    TaskState.SUCCEEDED: ("check", "succeeded", "good"),
    TaskState.FAILED: ("cross", "failed", "bad"),
    TaskState.SKIPPED: ("skip", "skipped", "quiet"),
    TaskState.CANCELLED: ("stop", "cancelled", "quiet"),
    TaskState.INTERRUPTED: ("bolt", "interrupted", "warn"),
}
VERDICTS: dict[str, tuple[str, str, str]] = {
    Verdict.PASS: ("check", "pass", "good"),
    Verdict.NEEDS_WORK: ("alert", "needs work", "warn"),
    Verdict.FAIL: ("cross", "fail", "bad"),
}
ATTENTIONS: dict[str, str] = {
    Attention.INPUT: "waits for your input",
    Attention.APPROVAL: "waits for your approval",
    Attention.LIMIT: "stopped at a limit",
    Attention.ERROR: "needs a look",
}
SEVERITIES: dict[str, tuple[str, str]] = {
    "error": ("cross", "bad"),
    "warning": ("alert", "warn"),
    "note": ("dot", "quiet"),
}
_TASK_ENDED = frozenset({"succeeded", "failed", "skipped", "cancelled"})


@dataclass(frozen=True)
class Mark:
    """A state in three ways at once: icon, word, tone."""

    icon: str
    word: str
    tone: str


def _mark(table: dict[str, tuple[str, str, str]], key: str) -> Mark:
    return Mark(*table.get(key, ("dot", key or "unknown", "quiet")))


@dataclass(frozen=True)
class TaskView:
    """One row of the tasks table."""

    id: str
    name: str
    command: str
    state: str
    mark: Mark
    exit_code: int | None
    seconds: str
    since: str  # RFC 3339 while it runs: the page counts from here
    needs: Sequence[str]
    reason: str
    tail: str
    has_log: bool


def _task(task: dict[str, Any]) -> TaskView:
    state = str(task.get("state", ""))
    running = state == TaskState.RUNNING
    return TaskView(
        id=task["id"],
        name=task.get("name") or task["id"],
        command=task.get("command") or "",
        state=state,
        mark=_mark(TASKS, state),
        exit_code=task.get("exit_code"),
        seconds=format_duration(task.get("seconds")),
        since=str(task.get("started_at") or "") if running else "",
        needs=task.get("needs") or (),
        reason=str(task.get("reason") or "").replace("_", " "),
        tail=task.get("tail") or "" if state == TaskState.FAILED else "",
        has_log=state not in (TaskState.PENDING, TaskState.SKIPPED),
    )


@dataclass(frozen=True)
class Finding:
    """One finding of the verdict."""

    severity: str
    icon: str
    tone: str
    message: str
    task: str
    place: str


def _finding(item: dict[str, Any]) -> Finding:
    severity = str(item.get("severity") or "note")
    icon, tone = SEVERITIES.get(severity, ("dot", "quiet"))
    place = str(item.get("file") or "")
    if place and item.get("line"):
        place = f"{place}:{item['line']}"
    return Finding(severity, icon, tone, str(item.get("message") or ""), str(item.get("task") or ""), place)


@dataclass(frozen=True)
class JobView:
    """A job as its row and its page show it."""

    job: Job
    tasks: Sequence[TaskView] = field(default_factory=list)

    @classmethod
    def of(cls, job: Job) -> JobView:
        """Present a job whose repository and worker are loaded."""
        return cls(job, [_task(task) for task in job.tasks])

    @property
    def state(self) -> Mark:
        """Return what the machine is doing."""
        return _mark(STATES, self.job.state)

    @property
    def verdict(self) -> Mark | None:
        """Return what the evidence says, if it says something."""
        return _mark(VERDICTS, self.job.verdict) if self.job.verdict else None

    @property
    def attention(self) -> str:
        """Return why a human is needed, in words."""
        return ATTENTIONS.get(self.job.attention, "")

    @property
    def needs_you(self) -> bool:
        """Return whether this belongs in front of a human now."""
        job = self.job
        if job.removed_at is not None:
            return False
        bad = job.verdict in (Verdict.NEEDS_WORK, Verdict.FAIL)
        return bool(job.attention) or bad or job.state == JobState.INTERRUPTED

    @property
    def sentence(self) -> str:
        """Return the state's reason as a sentence, with what was observed."""
        return " ".join(part for part in (self.job.reason_text, self.job.reason_detail) if part)

    @property
    def short_sha(self) -> str:
        """Return the head commit, short."""
        return self.job.sha[:10]

    @property
    def short_base(self) -> str:
        """Return the base commit, short."""
        return self.job.base_sha[:10]

    @property
    def base(self) -> str:
        """Return the base branch's name as people say it."""
        return self.job.base_ref.removeprefix("refs/heads/")

    @property
    def short_moved(self) -> str:
        """Return the newer head, short."""
        return self.job.moved_to[:10]

    @property
    def tasks_done(self) -> int:
        """Return how many tasks have ended."""
        return sum(task.state in _TASK_ENDED for task in self.tasks)

    @property
    def current_tasks(self) -> str:
        """Return the names of what runs now."""
        if self.job.state != JobState.RUNNING:
            return ""
        return ", ".join(task.name for task in self.tasks if task.state == TaskState.RUNNING)

    @property
    def progress_tone(self) -> str:
        """Return `bad` as soon as one task failed."""
        return "bad" if any(task.state == TaskState.FAILED for task in self.tasks) else "good"

    @property
    def findings(self) -> list[Finding]:
        """Return the findings, worst first."""
        order = list(SEVERITIES)
        found = [_finding(item) for item in self.job.findings]
        return sorted(found, key=lambda f: order.index(f.severity) if f.severity in order else len(order))

    @property
    def since(self) -> str:
        """Return the start in RFC 3339 while the job is at work: the page counts from here."""
        at_work = self.job.state in (JobState.RUNNING, JobState.CANCELLING)
        return self.job.started_at.isoformat() if at_work and self.job.started_at else ""

    @property
    def duration(self) -> str:
        """Return how long the job took, or has taken so far."""
        if self.job.started_at is None:
            return ""
        end = self.job.finished_at or (timezone.now() if self.job.is_active else None)
        return format_duration((end - self.job.started_at).total_seconds()) if end else ""

    @property
    def when(self) -> datetime:
        """Return the moment a list shows: the end, else the start, else the wish."""
        return self.job.finished_at or self.job.started_at or self.job.created_at

    @property
    def target_url(self) -> str:
        """Return the target's page on its forge, if it is a web address."""
        return self.job.url if urlsplit(self.job.url).scheme in ("http", "https") else ""

    @property
    def shows_progress(self) -> bool:
        """Return whether some tasks are still to come."""
        return bool(self.tasks) and self.tasks_done < len(self.tasks)

    @property
    def asks_for_trust(self) -> bool:
        """Return whether the job waits for the user's word that its repository's code may run here."""
        return self.job.attention == Attention.APPROVAL and self.job.state in (
            JobState.QUEUED,
            JobState.PREPARING,
        )

    @property
    def can_cancel(self) -> bool:
        """Return whether cancelling makes sense."""
        return self.job.is_active and self.job.state != JobState.CANCELLING

    @property
    def can_resume(self) -> bool:
        """Return whether the job can go on, or be tried again."""
        again = (JobState.INTERRUPTED, JobState.FAILED, JobState.CANCELLED)
        return self.job.state in again and self.job.removed_at is None

    @property
    def can_remove(self) -> bool:
        """Return whether there is something to remove."""
        return self.job.removed_at is None

    @property
    def has_session(self) -> bool:
        """Return whether a terminal has something to attach to."""
        return bool(self.job.worktree) and self.job.removed_at is None


@dataclass(frozen=True)
class Sections:
    """The job list in its order: what needs you, what is at work, what has ended."""

    needs_you: Sequence[JobView]
    active: Sequence[JobView]
    ended: Sequence[JobView]

    @property
    def empty(self) -> bool:
        """Return whether there is no job at all."""
        return not (self.needs_you or self.active or self.ended)


def sections(jobs: Iterable[Job]) -> Sections:
    """Sort jobs into the sections of the list."""
    views = [JobView.of(job) for job in jobs]
    rest = [view for view in views if not view.needs_you]
    return Sections(
        needs_you=[view for view in views if view.needs_you],
        active=[view for view in rest if view.job.is_active],
        ended=sorted((view for view in rest if not view.job.is_active), key=lambda v: v.when, reverse=True),
    )


def event_text(event: JobEvent) -> str:
    """Return one line about an event of the timeline."""
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
        "note": lambda: str(data.get("text", "")),
        "finished": lambda: f"Finished, verdict {str(data.get('verdict') or 'none').replace('_', ' ')}",
        "removed": lambda: (
            "Removed from the worker" + (f"; rescued work: {data['bundle']}" if data.get("bundle") else "")
        ),
    }
    make = texts.get(event.kind)
    return make() if make else event.kind.replace("_", " ").capitalize()  # type: ignore[no-untyped-call]


# markdown-it takes a renderer, and calls it with itself.
def _link_open(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrs["rel"] = "nofollow noopener noreferrer"
    return self.renderToken(tokens, index, options, env)


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    # The page loads nothing from elsewhere: an image is its description.
    return self.renderInlineAsText(tokens[index].children, options, env)


def _cell_open(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Align a cell by a class: the content policy allows no style attributes."""
    token = tokens[index]
    style = str(token.attrs.pop("style", ""))
    if style:
        token.attrs["class"] = "align-" + style.rpartition(":")[2].strip()
    return self.renderToken(tokens, index, options, env)


_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")
_MARKDOWN.add_render_rule("link_open", _link_open)
_MARKDOWN.add_render_rule("image", _image)
for _cell in ("th_open", "td_open"):
    _MARKDOWN.add_render_rule(_cell, _cell_open)


def markdown(text: str) -> SafeString:
    """Return Markdown as HTML in which nothing of the text is markup or loads anything."""
    # html=False escapes tags; markdown-it refuses javascript:, vbscript:, file: and data: links.
    return mark_safe(str(_MARKDOWN.render(text)))  # noqa: S308
