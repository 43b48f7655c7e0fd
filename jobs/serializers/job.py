"""A job in words and data: the `job` object of `--json`, and the commands a person can type."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Any

from jobs.execution.archive import archive_dir
from jobs.invocation import command
from jobs.models import Job
from jobs.remote.layout import manual_attach
from jobs.workers import layout_of, words_for_ssh


def _utc(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def shown_target(job: Job) -> str:
    """Return the target as the CLI takes it: `123`, `123:debug`, `main`."""
    target = str(job.number) if job.number is not None else job.target
    return f"{target}:{job.name}" if job.name else target


def commands_for(job: Job) -> dict[str, str]:
    """Return the shell commands to attach, print logs and remove the job, and to attach by tmux alone."""
    words = shlex.join([shown_target(job), job.action, "--repo", job.repository.slug])
    return {
        "attach": command(words),
        "logs": command(f"logs {words}"),
        "remove": command(f"rm {words}"),
        "manual": manual_attach(layout_of(job.worker), job.session, words_for_ssh(job.worker)),
    }


def job_json(job: Job) -> dict[str, Any]:
    """Return the job as `--json` shows it: every key always there, null rather than missing, UTC."""
    layout = layout_of(job.worker)
    home = archive_dir(job.id)

    def log(task: str) -> str:
        return str(home / "tasks" / f"{task}.log") if job.archived_at else layout.task_log(job.session, task)

    return {
        "id": job.id,
        "session": job.session,
        "repository": job.repository.slug,
        "number": job.number,
        "name": job.name or None,
        "target": job.target,
        "action": job.action,
        "state": job.state,
        "reason": job.reason or None,
        "reason_detail": job.reason_detail or None,
        "attention": job.attention or None,
        "verdict": job.verdict or None,
        "stale": job.is_stale,
        "sha": job.sha or None,
        "base_sha": job.base_sha or None,
        "worker": job.worker.name,
        "placement": job.options.get("placement") or None,
        "image": job.image or None,
        "worktree": job.worktree or None,
        "created_at": _utc(job.created_at),
        "started_at": _utc(job.started_at),
        "finished_at": _utc(job.finished_at),
        "observed_at": _utc(job.observed_at),
        "removed_at": _utc(job.removed_at),
        "tasks": [
            {
                "id": task["id"],
                "state": task["state"],
                "exit_code": task.get("exit_code"),
                "seconds": task.get("seconds"),
                "log": log(task["id"]),
            }
            for task in job.tasks
        ],
        "findings": job.findings,
        "url": job.url or None,
        "attach": commands_for(job)["manual"],
    }
