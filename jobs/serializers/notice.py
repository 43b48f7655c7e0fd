"""THE JSON of a notice, for every way of telling a user what happened to a job."""

from __future__ import annotations

from typing_extensions import TypedDict

from jobs.models import Job, JobEvent
from jobs.serializers.reason import headline
from jobs.states import Attention, JobState, NoticeKind

_TITLES = {
    NoticeKind.NEEDS_YOU: "Needs you",
    NoticeKind.DONE: "Done",
    NoticeKind.FAILED: "Failed",
    NoticeKind.LIMIT: "At a limit",
}
_ENDS = {
    JobState.SUCCEEDED: NoticeKind.DONE,
    JobState.FAILED: NoticeKind.FAILED,
    JobState.INTERRUPTED: NoticeKind.NEEDS_YOU,
}
_WAITS = {
    Attention.INPUT: NoticeKind.NEEDS_YOU,
    Attention.APPROVAL: NoticeKind.NEEDS_YOU,
    Attention.LIMIT: NoticeKind.LIMIT,
}


class NoticeJson(TypedDict):
    """What a user is told. `event`: the id of the event behind it; `url`: of the pull request.

    `text` is title and message: chat programs show it.
    """

    event: int
    job: int
    kind: str
    title: str
    message: str
    text: str
    url: str | None


def notice_json(event: JobEvent, job: Job) -> NoticeJson | None:
    """Return what an event of a job is to its user; None when it is nothing, or no longer so.

    The job's repository and worker must be loaded.
    """
    kind = _kind_of(event, job)
    if kind is None:
        return None
    name = f":{job.name}" if job.name else ""
    verdict = f" ({job.verdict.replace('_', ' ')})" if job.verdict and kind is NoticeKind.DONE else ""
    title = _line(f"{_TITLES[kind]}: {job.target}{name} {job.action} of {job.repository.slug}{verdict}")
    message = _line(headline(job) or job.title)
    return {
        "event": event.id,
        "job": job.id,
        "kind": kind.value,
        "title": title,
        "message": message,
        "text": f"{title}\n{message}",
        "url": job.url or None,
    }


def _kind_of(event: JobEvent, job: Job) -> NoticeKind | None:
    if event.kind == "state" and event.data.get("state") == job.state:
        return _ENDS.get(JobState(job.state))
    if event.kind == "attention" and event.data.get("attention") == job.attention:
        return _WAITS.get(Attention(job.attention))
    return None


def _line(text: str) -> str:
    """Return a text of others in one line, without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))[:500]
