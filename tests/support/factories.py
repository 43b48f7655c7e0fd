"""Rows as the journal would have left them."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobs.models import Job, JobEvent, Repository, Worker
from jobs.remote.layout import session_name
from jobs.states import JobState, Reason, TaskState, Verdict

SHA = "4f1c9e27ab30d5c86e1f2a7b9d0c3e5f6a8b1c2d"
_numbers = itertools.count(101)


def make_worker(name: str = "local", **columns: Any) -> Worker:
    """A worker; by default this machine, seen just now."""
    values = {
        "provider": "local", "root": "/tmp/offload-worker", "state": "ready", "observed_at": timezone.now(),
    } | columns  # fmt: skip
    return Worker.objects.get_or_create(name=name, defaults=values)[0]


def make_repository(slug: str = "acme/tinycart", **columns: Any) -> Repository:
    """A repository; by default one on a forge, not trusted."""
    values = {
        "short": slug.rpartition("/")[2], "url": f"https://forge.invalid/{slug}.git", "forge": "plain",
    } | columns  # fmt: skip
    return Repository.objects.get_or_create(slug=slug, defaults=values)[0]


def make_task(id: str, state: str = TaskState.SUCCEEDED, **fields: Any) -> dict[str, Any]:
    """A task as `Job.tasks` keeps it."""
    ended = state in (TaskState.SUCCEEDED, TaskState.FAILED)
    code = 0 if state == TaskState.SUCCEEDED else 1
    return {
        "id": id, "name": id.replace("-", " ").capitalize(), "role": "custom", "command": f"run-{id}",
        "needs": [], "state": str(state), "exit_code": code if ended else None,
        "seconds": 1.5 if ended else None, "reason": "", "tail": "", "started_at": None,
    } | fields  # fmt: skip


def make_job(
    *, state: str = JobState.SUCCEEDED, verdict: str = Verdict.NONE, repository: Repository | None = None,
    worker: Worker | None = None, action: str = "review", name: str = "", **columns: Any,
) -> Job:  # fmt: skip
    """A job in the given state, with times that fit it."""
    repository = repository or make_repository()
    worker = worker or make_worker()
    number = columns.pop("number", None) or next(_numbers)
    now = timezone.now()
    session = session_name(repository.short, str(number), action, name)
    reasons = {
        JobState.RUNNING: Reason.STARTED, JobState.SUCCEEDED: Reason.FINISHED,
        JobState.FAILED: Reason.TASK_FAILED, JobState.INTERRUPTED: Reason.SESSION_LOST,
        JobState.QUEUED: Reason.SUBMITTED, JobState.PREPARING: Reason.LAUNCHING,
        JobState.CANCELLED: Reason.CANCELLED_BY_USER,
    }  # fmt: skip
    started = state not in (JobState.QUEUED, JobState.PREPARING)
    ended = state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED)
    values: dict[str, Any] = {
        "repository": repository, "worker": worker, "session": session, "number": number,
        "ref": f"refs/pull/{number}/head", "target": f"#{number}", "action": action, "name": name,
        "state": str(state), "verdict": str(verdict), "reason": str(reasons.get(JobState(state), "")),
        "sha": SHA if started else "", "base_sha": SHA[::-1] if started else "", "base_ref": "main",
        "worktree": f"/tmp/offload-worker/worktrees/{session}" if started else "",
        "created_at": now - timedelta(minutes=5),
        "started_at": now - timedelta(minutes=4) if started else None,
        "finished_at": now - timedelta(minutes=1) if ended else None,
        "observed_at": now - timedelta(seconds=4) if started else None,
    }  # fmt: skip
    job = Job.objects.create(**(values | columns))
    JobEvent.objects.create(job=job, kind="submitted", actor="local (dashboard)")
    return job
