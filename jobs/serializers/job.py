"""THE JSON of a job, for every interface: schema `offload/1`, every key always present, null when unknown."""

from __future__ import annotations

import shlex
from typing import Any

from typing_extensions import TypedDict

from jobs.errors import UsageError
from jobs.execution.archive import archive_dir
from jobs.forges.base import COMMIT
from jobs.forges.target import BRANCH, parse_target
from jobs.invocation import command
from jobs.models import Job
from jobs.remote.layout import manual_attach
from jobs.serializers.reason import group_of, headline
from jobs.serializers.times import utc
from jobs.workers import isolation_of, layout_of, words_for_ssh


class TaskJson(TypedDict):
    """A task of a job. `log`: path of its log, on the worker or, once archived, here."""

    id: str
    name: str
    state: str
    exit_code: int | None
    seconds: float | None
    log: str


class JobJson(TypedDict):
    """A job. Times are RFC 3339 in UTC; `attach` is a command that needs only tmux and ssh.

    `group`: its group in lists. `headline`: the reason for its state in one line. `secrets`: names only.
    """

    id: int
    session: str
    repository: str
    number: int | None
    name: str | None
    target: str
    title: str | None
    action: str
    group: str
    headline: str | None
    state: str
    reason: str | None
    reason_detail: str | None
    attention: str | None
    attention_until: str | None
    verdict: str | None
    proof: bool | None
    stale: bool
    ref: str
    sha: str | None
    judged_sha: str | None
    moved_to: str | None
    base_ref: str | None
    base_sha: str | None
    base_option: str | None
    agent: str | None
    prompt: str | None
    rounds: int | None
    secrets: list[str]
    agent_secrets: list[str]
    worker: str
    worker_state: str
    pool: str | None
    placement: str | None
    isolation: str
    image: str | None
    worktree: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    observed_at: str | None
    archived_at: str | None
    removed_at: str | None
    archive: str | None
    tasks: list[TaskJson]
    findings: list[dict[str, Any]]
    url: str | None
    attach: str


def shown_target(job: Job) -> str:
    """Return the target as the command line takes it: `123`, `123:debug`, `main`."""
    number = job.number if job.number is not None else job.options.get("issue")
    target = str(number) if number else job.target
    if not number and not _is_read_as_is(target):
        target = f"{BRANCH}{target}"
    return f"{target}:{job.name}" if job.name else target


def _is_read_as_is(ref: str) -> bool:
    """Return whether a branch or commit can be typed without `branch:`; one that looks like a verb cannot."""
    try:
        found = parse_target(ref)
        return found.ref == ref and found.kind == ("commit" if COMMIT.fullmatch(ref) else "branch")
    except UsageError:
        return False


def commands_for(job: Job) -> dict[str, str]:
    """Return the shell commands to attach, print logs and remove the job, and to attach by tmux alone."""
    words = shlex.join([shown_target(job), job.action, "--repo", job.repository.slug])
    return {
        "attach": command(words),
        "logs": command(f"logs {words}"),
        "remove": command(f"rm {words}"),
        "manual": manual_attach(layout_of(job.worker), job.session, words_for_ssh(job.worker)),
    }


def isolation_text(job: Job) -> str:
    """Return the sentence that says what keeps the job's code apart from its worker and from other jobs."""
    return {
        "none": f"Not isolated: the job's code runs as the user of {job.worker} and can change its results.",
        "worker": f"Isolated from {job.worker} in a container that its jobs share.",
        "job": f"Isolated from {job.worker} and from other jobs in a container of its own.",
    }[isolation_of(job.worker.config)]


def agent_key_text(job: Job) -> str:
    """Return the sentence that says which secrets the job's agent held itself, empty if none."""
    held = job.options.get("agent_secrets")
    if not held:
        return ""
    return (
        f"The agent {job.options.get('agent')} held {', '.join(held)}: what talks it into something can send "
        "that elsewhere."
    )


def job_json(job: Job) -> JobJson:
    """Return a job as data. Its repository and worker must be loaded."""
    layout = layout_of(job.worker)
    archive = archive_dir(job.id)

    def log(task: str) -> str:
        return (
            str(archive / "tasks" / f"{task}.log") if job.archived_at else layout.task_log(job.session, task)
        )

    return {
        "id": job.id,
        "session": job.session,
        "repository": job.repository.slug,
        "number": job.number,
        "name": job.name or None,
        "target": job.target,
        "title": job.title or None,
        "action": job.action,
        "group": group_of(job),
        "headline": headline(job) or None,
        "state": job.state,
        "reason": job.reason or None,
        "reason_detail": job.reason_detail or None,
        "attention": job.attention or None,
        "attention_until": utc(job.attention_until),
        "verdict": job.verdict or None,
        "proof": job.proof,
        "stale": job.is_stale,
        "ref": job.ref,
        "sha": job.sha or None,
        "judged_sha": job.judged_sha or None,
        "moved_to": job.moved_to or None,
        "base_ref": job.base_ref or None,
        "base_sha": job.base_sha or None,
        "base_option": job.options.get("base") or None,
        "agent": job.options.get("agent") or None,
        "prompt": job.options.get("prompt") or None,
        "rounds": job.options.get("rounds") or None,
        "secrets": job.options.get("secrets") or [],
        "agent_secrets": job.options.get("agent_secrets") or [],
        "worker": job.worker.name,
        "worker_state": job.worker.state,
        "pool": job.pool.name if job.pool is not None else None,
        "placement": job.options.get("placement") or None,
        "isolation": isolation_of(job.worker.config),
        "image": job.image or None,
        "worktree": job.worktree or None,
        "created_at": utc(job.created_at),
        "started_at": utc(job.started_at),
        "finished_at": utc(job.finished_at),
        "observed_at": utc(job.observed_at),
        "archived_at": utc(job.archived_at),
        "removed_at": utc(job.removed_at),
        "archive": str(archive) if job.archived_at else None,
        "tasks": [
            {
                "id": task["id"],
                "name": str(task.get("name") or task["id"]),
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
