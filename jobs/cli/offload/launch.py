"""`offload TARGET... [ACTION]`: start jobs, or attach to one again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from jobs import execution, operations
from jobs.cli.attaching import attach_to_job
from jobs.cli.confirming import confirm
from jobs.cli.output import StepPrinter, plain, print_job, print_job_json, print_outcome, say
from jobs.cli.remote_launch import refuse_ignored_options, resume_remotely, submit_remotely
from jobs.cli.request import Request, actor
from jobs.cli.several import SeveralJobs
from jobs.cli.targets import IMPLEMENT, read_targets
from jobs.cli.waiting import describe_return, exit_code, wait_until_ended
from jobs.client import get_client, get_remote, is_remote
from jobs.errors import NotFound, OffloadError, Refused, UsageError
from jobs.forges.target import Target
from jobs.models import Job, Repository
from jobs.states import JobState, LaunchPhase, Reason

HEAD_CHECK_SECONDS = 2.0


async def run(request: Request) -> int:
    """Start the jobs, or attach to the one that exists."""
    _refuse_ineffective_options(request)
    targets, action = read_targets(request.words)
    if request.all_open:
        targets = await _choose_open_pulls(request, action)
        if not targets:
            say("There is no open pull request.")
            return 0
    if not targets:
        raise UsageError(f"The target of {action} is missing.", hint=f"Write `offload 123 {action}`.")
    if len(targets) > 1 or request.all_open:
        return await _run_several(request, targets, action)
    steps = StepPrinter(quiet=request.json)
    job, created = await _submit(request, targets[0], action, steps)
    request.if_interrupted = "Interrupted before the job was started. The same command continues with it."
    job = await _bring_up(job, created, steps)
    if job.is_active and not is_remote():
        request.if_interrupted = f"Interrupted; the job keeps running. {describe_return(job)}"
        steps.step(_safe_to_leave(job), LaunchPhase.RUN)
    if request.wait:
        return await wait_until_ended(request, job)
    if request.detach or not request.interactive or is_remote():
        return _leave(request, job)
    return await attach_to_job(request, job)


def _refuse_ineffective_options(request: Request) -> None:
    """Raise `UsageError` for an option that has no effect without another one."""
    for option, needed in (
        ("timeout", "wait"),
        ("force", "fresh"),
        ("limit", "all_open"),
    ):
        if getattr(request, option) and not getattr(request, needed):
            name = f"--{needed.replace('_', '-')}"
            raise UsageError(f"--{option} has an effect only with {name}.", hint=f"Add {name}.")
    if request.wait and request.detach:
        raise UsageError("--detach returns at once, and --wait does not.", hint="Use one of them.")


async def _choose_open_pulls(request: Request, action: str) -> list[Target]:
    """Return the open pull requests, after a question. Raises `Refused` when the answer is no."""
    if len(request.words) > (action in request.words):
        raise UsageError("--all-open takes no target.", hint=f"Write `offload --all-open {action}`.")
    if action == IMPLEMENT:
        raise UsageError(f"--all-open names pull requests, and {action} needs an issue.")
    rows = await get_client().list_pulls(request.repo or "", Path.cwd(), say)
    rows = rows[: request.limit] if request.limit else rows
    if rows:
        listed = tuple(plain(f"  #{row.number} {' '.join(row.title.split())}") for row in rows)
        count = f"{len(rows)} open pull request{'' if len(rows) == 1 else 's'}"
        question = f"Start {action} for {count} of {rows[0].repository}?"
        await confirm(request, operations.ConfirmationPlan(question, listed))
    return [Target("pull", row.number) for row in rows]


async def _run_several(request: Request, targets: Sequence[Target], action: str) -> int:
    """Submit a job for each target, start them, wait if asked to, and report; one failure stops no other."""
    named = {_named(target): target for target in targets}
    several = SeveralJobs(request, list(named))
    for name, target in named.items():
        steps = StepPrinter(quiet=request.json, subject=name)
        async with several.noting_errors(name):
            job, created = await _submit(request, target, action, steps)
            several.jobs[name] = job
            several.new.update({job.id} if created else ())
    request.if_interrupted = (
        "Interrupted. Jobs that have not started stay queued; the same command starts them, and so does "
        "`offload serve`."
    )
    for name, job in several.jobs.items():
        steps = StepPrinter(quiet=request.json, subject=name)
        async with several.noting_errors(name):
            await _bring_up(job, job.id in several.new, steps)
    if request.wait:
        await several.wait()
    return await several.finish()


def _named(target: Target) -> str:
    """Return a target with what tells it from the others of the same command."""
    name = f":{target.name}" if target.name else ""
    return f"{target.repository.rpartition('://')[2]}{target.shown}{name}"


def _safe_to_leave(job: Job) -> str:
    if job.worker.provider == "local":
        # A laptop that sleeps is a worker that sleeps.
        return (
            f"{job.session} runs without this command: it is safe to close this terminal "
            "(the worker is this machine, so keep it awake)"
        )
    return f"{job.session} runs without this command on {job.worker}: it is safe to close your laptop"


async def _submit(request: Request, target: Target, action: str, steps: StepPrinter) -> tuple[Job, bool]:
    """Return the job of a target and whether it is new; with --fresh it is, and the old one is removed."""
    if (client := get_remote()) is not None:
        return await submit_remotely(client, request, target, action, steps)
    repository = await request.repository(target)
    target = await execution.expand_commit(target, repository, Path.cwd())
    steps.step(f"Using {target.shown} of {repository.slug}", LaunchPhase.RESOLVE)
    placed = await _ask_for_trust(request, repository)
    wanted = execution.JobRequest(
        repository=placed.repository,
        target=target,
        action=action,
        # With --fresh the existing job may be on another worker.
        worker="" if request.fresh else request.worker or "",
        batch=bool(request.detach),
        agent=request.agent or "",
        prompt=request.prompt or "",
        base=request.base or "",
        rounds=request.rounds or 0,
        secrets=tuple(request.secret or ()),
        actor=actor(),
        placed=placed,
    )
    job, created = await execution.submit(wanted)
    if not created and not request.fresh:
        refuse_ignored_options(request, job)
    if request.fresh and not created:
        if job.removed_at is None:
            # If the head no longer exists, the old job must stay.
            await execution.check_head(job.id)
        steps.step(f"Removing the old {job.session}", LaunchPhase.RESOLVE)
        await execution.remove(job.id, force=request.force, actor=actor())
        job, created = await execution.submit(wanted)
    return job, created


async def _ask_for_trust(request: Request, repository: Repository) -> execution.Placement:
    """Return where the job will run, with the trust that this needs obtained. Raises `Refused`."""
    placed = await execution.place_request(repository, request.worker or "", request.pool or "")
    if request.trust and not placed.needs_trust and repository.trusted_at is None:
        say("--trust has no effect here: the code is yours, or isolated from you.")
    try:
        execution.require_trust(placed)
    except Refused as refusal:
        # --yes answers questions about this job. Trust in a repository needs --trust or an answer.
        if not request.trust and not (
            request.interactive
            and not request.yes
            and await request.confirm(f"{refusal.message}\nTrust everyone who can open a pull request there?")
        ):
            raise
        await execution.trust(repository.id, actor())
    return placed


async def _bring_up(job: Job, created: bool, steps: StepPrinter) -> Job:
    """Return the job running or ended; one that was interrupted, cancelled or not prepared is resumed.

    A job that this command created and could not start leaves nothing behind.
    """
    try:
        return await _start(job, created, steps)
    except Exception:
        if created and not is_remote():
            with contextlib.suppress(OffloadError):
                await execution.discard(job.id)
        raise


async def _start(job: Job, created: bool, steps: StepPrinter) -> Job:
    if (client := get_remote()) is not None:
        return await resume_remotely(client, job, steps)
    if not created:
        job = await execution.refresh(job.id)
        if job.state == JobState.CANCELLED or (
            job.state == JobState.FAILED and job.reason == Reason.PREPARE_FAILED
        ):
            steps.step(f"{job.session} had ended ({job.state}) and is started again", LaunchPhase.RESOLVE)
            await execution.resume(job.id, actor())
        elif job.state == JobState.INTERRUPTED:
            steps.step(
                f"{job.session} was interrupted and is resumed. {job.reason_text}", LaunchPhase.RESOLVE
            )
    if job.state != JobState.RUNNING:
        job = await execution.launch(job.id, steps)
    if not created:
        await _say_if_moved(job)
    return job


async def _say_if_moved(job: Job) -> None:
    try:
        async with asyncio.timeout(HEAD_CHECK_SECONDS):
            job = await execution.check_head(job.id)
    except NotFound as gone:
        say(str(gone))
    except (TimeoutError, OffloadError):
        pass
    if job.is_stale:
        say(
            f"The head of {job.target} has moved: this job is for {job.sha[:10]}, the head is now "
            f"{job.moved_to[:10]}. Use --fresh to start again on the new commit."
        )


def _leave(request: Request, job: Job) -> int:
    """Print the job instead of attaching; return the exit code."""
    if request.json:
        print_job_json(job)
    elif job.has_ended:
        print_outcome(job)
    else:
        print_job(job)
    if job.is_active:
        if not request.json:
            commands = get_client().commands_for(job)
            if is_remote():
                say(f"Its page: {commands['page']}")
                return 0
            say(f"Attach from a terminal with: {commands['attach']}")
            say(f"or by hand with:             {commands['manual']}")
        return 0
    # Without --wait a verdict is no failure of this command.
    return 0 if job.verdict else exit_code(job)
