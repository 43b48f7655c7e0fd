"""Start jobs on a remote dashboard: submit them; its reconciler launches them."""

from __future__ import annotations

from pathlib import Path

from jobs import execution, serializers
from jobs.cli.output import StepPrinter
from jobs.cli.request import Request, actor
from jobs.client.remote import Remote
from jobs.errors import Refused, UsageError
from jobs.forges.target import ABBREVIATED, BRANCH, Target
from jobs.models import Job, Repository
from jobs.operations import NewJob
from jobs.states import JobState, LaunchPhase, Reason


async def submit_remotely(
    client: Remote, request: Request, target: Target, action: str, steps: StepPrinter
) -> tuple[Job, bool]:
    """Return the job of a target and whether it is new; with --fresh it is, and the old one is removed.

    Raises `UsageError` for options that a token gives no right to.
    """
    for option in ("secret", "trust"):
        if getattr(request, option):
            raise UsageError(
                f"--{option} does not work with a remote dashboard: no token may give that.",
                hint="Start the job on the dashboard's computer.",
            )
    target = await execution.expand_commit(target, Repository(), Path.cwd())
    shown = target.ref if target.number is None else str(target.number)
    is_branch = target.kind == "branch" and (target.explicit or not ABBREVIATED.fullmatch(target.ref))
    new = NewJob(
        target=f"{BRANCH}{shown}" if is_branch else shown,
        action=action,
        repository=await client.name_repository(request.repo or target.repository, Path.cwd()),
        name=target.name,
        worker=(not request.fresh and request.worker) or "",
        pool=request.pool or "",
        agent=request.agent or "",
        prompt=request.prompt or "",
        base=request.base or "",
        rounds=request.rounds or 0,
    )
    steps.step(f"Submitting {target.shown} to {client.server}", LaunchPhase.RESOLVE)
    job, created = await client.submit(new)
    if not created and not request.fresh:
        refuse_ignored_options(request, job)
    if not created and request.fresh:
        steps.step(f"Removing the old {job.session}", LaunchPhase.RESOLVE)
        await client.remove(job.id, force=bool(request.force), actor=actor())
        job, created = await client.submit(new)
    return job, created


async def resume_remotely(client: Remote, job: Job, steps: StepPrinter) -> Job:
    """Return a submitted job, queued again if it was interrupted, cancelled or not prepared."""
    unprepared = job.state == JobState.FAILED and job.reason == Reason.PREPARE_FAILED
    if unprepared or job.state in (JobState.CANCELLED, JobState.INTERRUPTED):
        steps.step(f"{job.session} had ended ({job.state}) and is started again", LaunchPhase.RESOLVE)
        return await client.resume(job.id)
    return job


def refuse_ignored_options(request: Request, job: Job) -> None:
    """Raise `Refused` when options ask for what the existing job does not have: an agent, another base."""
    given = {
        "agent": request.agent,
        "prompt": request.prompt,
        "base": request.base,
        "rounds": request.rounds,
        "class": request.pool,
        "secrets": None if request.secret is None else sorted(set(request.secret)),
    }
    has = {
        **job.options,
        "class": job.pool.name if job.pool else "",
        "secrets": sorted(set(job.options.get("secrets") or ())),
    }
    ignored = [key for key, value in given.items() if value is not None and value != (has.get(key) or "")]
    if ignored:
        options = " and ".join(f"--{key.removesuffix('s') if key == 'secrets' else key}" for key in ignored)
        raise Refused(
            f"{job.session} already exists, and {options} cannot change it.",
            hint="Start it again with --fresh, or start a second job with a name, "
            f"as in {serializers.shown_target(job).partition(':')[0]}:again.",
        )
