"""Requests: rows for jobs that a user asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from jobs.agents import registry as agents
from jobs.errors import NotFound, Refused, UsageError
from jobs.execution.placement import Placement, place_request
from jobs.execution.secret_store import check_name
from jobs.forges import registry as forges
from jobs.forges.base import COMMIT
from jobs.forges.target import ABBREVIATED, Target
from jobs.models import Job, JobEvent, Repository
from jobs.playbooks import registry as playbooks
from jobs.playbooks.fix import MOST_ROUNDS
from jobs.remote.layout import session_name
from jobs.states import JOB_RESUMABLE, JobState, Reason
from jobs.transitions import move_job
from jobs.workers import sibling_name

JOB_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True)
class JobRequest:
    """The job that a user asks for.

    `worker` empty: one of the `pool`; with neither: the pool of the repository, else the configured worker.
    `batch`: no one waits for it, so others start first. `base` empty: chosen on the worker. `rounds`: of a
    fix, at most; 0: the playbook's number. `placed`: decided before.
    """

    repository: Repository
    target: Target
    action: str = "review"
    name: str = ""
    worker: str = ""
    pool: str = ""
    batch: bool = False
    agent: str = ""
    prompt: str = ""
    base: str = ""
    rounds: int = 0
    secrets: tuple[str, ...] = ()
    actor: str = ""
    placed: Placement | None = None


async def submit(request: JobRequest) -> tuple[Job, bool]:
    """Return the job that is asked for, and whether it is new; a new one is placed on a worker first.

    Raises `UsageError` for a request that makes no sense, `NotFound` for a worker that there is not,
    `Refused` when the job is there on another worker than the one that was named.
    """
    request = replace(request, target=target_for(request.action, request.target))
    existing = await sync_to_async(_look_up)(request)
    if existing is not None:
        return existing, False
    placed = request.placed or await place_request(request.repository, request.worker, request.pool)
    return await sync_to_async(_create)(request, placed)


def target_for(action: str, target: Target) -> Target:
    """Return what a target means to an action: a number is an issue to one that implements.

    Raises `UsageError` for a target that the action cannot be about.
    """
    if playbooks.get(action).needs_issue:
        if target.number is None:
            raise UsageError(f"{target.shown} is no issue.", hint=f"Name its number: `offload 45 {action}`.")
        return replace(target, kind="issue")
    if target.kind == "issue":
        raise UsageError(
            f"{target.shown} is an issue, and {action} needs a pull request or a branch.",
            hint=f"Name the pull request that addresses it, or write `offload {target.number} implement`.",
        )
    return target


def _check_issue(request: JobRequest) -> None:
    if not request.agent:
        raise UsageError(f"{request.action} needs an agent.", hint="Name one with --agent.")
    if not request.prompt and not forges.has_client(request.repository.forge):
        raise UsageError(
            f"The text of {request.target.shown} cannot be read: {request.repository} is on no forge that "
            "Offload can ask.",
            hint="Say with --prompt what is to be implemented.",
        )


def _look_up(request: JobRequest) -> Job | None:
    playbook = playbooks.get(request.action)
    action = playbook.action
    if request.agent and not agents.get(request.agent).fixes and playbook.has_rounds:
        able = ", ".join(name for name in agents.NAMES if agents.get(name).fixes)
        raise UsageError(f"The agent {request.agent} only reviews.", hint=f"These can edit: {able}.")
    if request.rounds and not playbook.has_rounds:
        raise UsageError(f"A {action} has no rounds.", hint="Leave --rounds out.")
    if playbook.needs_issue:
        _check_issue(request)
    if not 0 <= request.rounds <= MOST_ROUNDS:
        raise UsageError(f"The number of rounds is from 1 to {MOST_ROUNDS}.")
    for secret in request.secrets:
        check_name(secret)
    name = request.name or request.target.name
    if name and not JOB_NAME.fullmatch(name):
        raise UsageError(
            f"The job name {name!r} is not usable.",
            hint="Use up to 40 letters, digits, dots, dashes and underscores.",
        )
    target = request.target
    existing = (
        find_jobs(repository=request.repository, target=target.shown, action=action, name=name)
        .filter(removed_at__isnull=True)
        .first()
    )
    if (
        existing is not None
        and request.worker
        and existing.worker.name not in (request.worker, sibling_name(request.worker))
    ):
        raise Refused(
            f"{existing.session} is on the worker {existing.worker}, not on {request.worker}.",
            hint="Leave --worker out to attach to it, use --fresh to remove it and start again on "
            f"{request.worker}, or add a name (like {target.shown}:again) for a second job.",
        )
    return existing


def _create(request: JobRequest, placed: Placement) -> tuple[Job, bool]:
    repository, target = request.repository, request.target
    forge = forges.get(repository.forge)
    action = playbooks.get(request.action).action
    name = request.name or target.name
    number = target.number if target.kind == "pull" else None
    ref = forge.pull_ref(number) if number is not None else forge.branch_ref(target.ref)
    if target.kind == "issue":
        ref = _start_of(request)
    word = target.ref if target.number is None else str(target.number)
    session = session_name(repository.short, word, action, name)
    try:
        with transaction.atomic():
            job = Job.objects.create(
                repository=repository,
                worker=placed.worker,
                pool=placed.pool,
                batch=request.batch,
                session=session,
                number=number,
                ref=ref,
                target=target.shown,
                url=forge.pull_url(repository.url, number) if number is not None else "",
                action=action,
                name=name,
                options={
                    "agent": request.agent,
                    "prompt": request.prompt,
                    "base": request.base,
                    "rounds": request.rounds,
                    "issue": target.number if target.kind == "issue" else 0,
                    "secrets": list(request.secrets),
                    "placement": placed.why,
                },
            )
            JobEvent.objects.create(job=job, kind="submitted", actor=request.actor, data={"session": session})
    except IntegrityError:
        # An equal command was faster: its job is ours too.
        job = find_jobs(repository=repository, target=target.shown, action=action, name=name).get(
            removed_at__isnull=True
        )
        return job, False
    return job, True


def _start_of(request: JobRequest) -> str:
    """Return the ref that an issue is implemented on: the base that is named, or the remote's HEAD."""
    base = request.base or request.repository.base
    return forges.get(request.repository.forge).branch_ref(base) if base else "HEAD"


def find_jobs(
    *, repository: Repository | None = None, target: str = "", action: str = "", name: str | None = None
) -> QuerySet[Job]:
    """Return the jobs that match, newest first, with repository and worker loaded."""
    jobs = Job.objects.select_related("repository", "worker", "pool")
    if repository is not None:
        jobs = jobs.filter(repository=repository)
    if target:
        jobs = jobs.filter(target=target)
    if action:
        jobs = jobs.filter(action=action)
    if name is not None:
        jobs = jobs.filter(name=name)
    return jobs


@sync_to_async
def find_job(
    *,
    repository: Repository | None,
    target: str,
    action: str = "",
    name: str | None = None,
    abbreviated: bool = False,
) -> Job:
    """Return the one job that is meant; removed ones count only when nothing else does.

    `abbreviated`: `target` may be the beginning of a commit's id. Raises `NotFound`, or `UsageError` listing
    the choices when several match.
    """
    jobs = list(find_jobs(repository=repository, target=target, action=action, name=name))
    if not jobs and abbreviated and ABBREVIATED.fullmatch(target):
        commits = find_jobs(repository=repository, action=action, name=name)
        begun = commits.filter(target__startswith=target.lower(), number__isnull=True)
        jobs = [job for job in begun if COMMIT.fullmatch(job.target)]
    present = [job for job in jobs if job.removed_at is None]
    chosen = present or jobs[:1]
    if action and name is None:
        # Target and action as listings print them; the job without a name would have no other words.
        chosen = [job for job in chosen if not job.name] or chosen
    if not chosen:
        what = f"{target} {action}".strip()
        where = f" in {repository.slug}" if repository is not None else ""
        raise NotFound(f"There is no job for {what}{where}.", hint="See `manage.py offload ls`.")
    if len(chosen) > 1:
        choices = ", ".join(
            f"{job.target}{':' + job.name if job.name else ''} {job.action}"
            + ("" if repository is not None else f" ({job.repository.slug})")
            for job in chosen
        )
        raise UsageError(
            f"{target} has {len(chosen)} jobs: {choices}.",
            hint="Name the action (and the job's name)"
            + (".", ", and the repository by --repo.")[len({job.repository_id for job in chosen}) > 1],
        )
    return chosen[0]


@sync_to_async
def resume(job_id: int, actor: str) -> bool:
    """Ask for an interrupted job, or one whose worktree could not be prepared, to go on.

    Returns whether there was anything to resume.
    """
    return move_job(
        job_id,
        JobState.QUEUED,
        reason=Reason.SUBMITTED,
        actor=actor,
        sources=JOB_RESUMABLE,
    )
