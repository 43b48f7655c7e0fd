"""`offload TARGET [ACTION]`: start a job, or attach to it again."""

from __future__ import annotations

import asyncio
import contextlib
import difflib

from asgiref.sync import sync_to_async

from jobs import execution, serializers
from jobs.cli.attaching import attach_to_job
from jobs.cli.output import StepPrinter, print_job, print_job_json, print_outcome, say
from jobs.cli.request import Request, actor
from jobs.cli.verbs import OFFLOAD
from jobs.cli.waiting import describe_return, exit_code, wait_until_ended
from jobs.errors import NotFound, OffloadError, Refused, UsageError
from jobs.forges.target import BRANCH, Target
from jobs.models import Job, Repository
from jobs.playbooks import registry as playbooks
from jobs.states import JobState, LaunchPhase, Reason
from jobs.workers import find_worker

HEAD_CHECK_SECONDS = 2.0
NEAR_VERB = 0.75  # similarity, from 0 to 1


async def run(request: Request) -> int:
    """Start the job, or attach to it again."""
    if request.timeout and not request.wait:
        raise UsageError("--timeout has an effect only with --wait.", hint="Add --wait.")
    _refuse_near_verb(request.words[0])
    target = request.target()
    action = request.action() or playbooks.DEFAULT
    if target.kind == "issue":
        raise UsageError(
            f"{request.words[0]} is an issue, and {action} needs a pull request or a branch.",
            hint="Name the pull request that addresses it.",
        )
    steps = StepPrinter(quiet=request.json)
    repository = await request.repository(target)
    steps.step(f"Using {target.shown} of {repository.slug}", LaunchPhase.RESOLVE)
    placed = await _ask_for_trust(request, repository)
    job, created = await _submit(request, target, action, placed)
    if not created and not request.fresh:
        _refuse_ignored_options(request, job)
    if request.fresh and not created:
        if job.removed_at is None:
            # If the head no longer exists, the old job must stay.
            await execution.check_head(job.id)
        steps.step(f"Removing the old {job.session}", LaunchPhase.RESOLVE)
        await execution.remove(job.id, force=request.force, actor=actor())
        job, created = await _submit(request, target, action, placed)
    request.if_interrupted = "Interrupted before the job was started. The same command continues with it."
    try:
        job = await _bring_up(job, created, steps)
    except Exception:
        if created:
            # A job that this command created and could not start leaves nothing behind.
            with contextlib.suppress(OffloadError):
                await execution.discard(job.id)
        raise
    if job.is_active:
        request.if_interrupted = f"Interrupted; the job keeps running. {describe_return(job)}"
        steps.step(_safe_to_leave(job), LaunchPhase.RUN)
    if request.wait:
        return await wait_until_ended(request, job)
    if request.detach or not request.interactive:
        return _leave(request, job)
    return await attach_to_job(request, job)


def _refuse_near_verb(word: str) -> None:
    """Raise `UsageError` when a target looks like a verb with a typing error: it must not start a job."""
    near = difflib.get_close_matches(word, [*OFFLOAD, "fleet"], n=1, cutoff=NEAR_VERB)
    if near and not word.startswith(BRANCH):
        raise UsageError(
            f"{word!r} is not a verb. Did you mean {near[0]!r}?",
            hint=f"If it is a branch, write {BRANCH}{word}.",
        )


def _refuse_ignored_options(request: Request, job: Job) -> None:
    """Raise `Refused` when options ask for what the existing job does not have: an agent, another base."""
    given = {
        "agent": request.agent,
        "prompt": request.prompt,
        "base": request.base,
        "secrets": sorted(request.secret or ()),
    }
    has = {**job.options, "secrets": sorted(job.options.get("secrets") or ())}
    ignored = [key for key, value in given.items() if value and value != has.get(key)]
    if ignored:
        options = " and ".join(f"--{key.removesuffix('s') if key == 'secrets' else key}" for key in ignored)
        raise Refused(
            f"{job.session} already exists, and {options} cannot change it.",
            hint="Start it again with --fresh, or start a second job with a name, "
            f"as in {serializers.shown_target(job).partition(':')[0]}:again.",
        )


def _safe_to_leave(job: Job) -> str:
    if job.worker.provider == "local":
        # A laptop that sleeps is a worker that sleeps.
        return (
            f"{job.session} runs without this command: it is safe to close this terminal "
            "(the worker is this machine, so keep it awake)"
        )
    return f"{job.session} runs without this command on {job.worker}: it is safe to close your laptop"


async def _submit(
    request: Request, target: Target, action: str, placed: execution.Placement
) -> tuple[Job, bool]:
    return await execution.submit(
        execution.JobRequest(
            repository=placed.repository,
            target=target,
            action=action,
            worker=request.worker or "",
            agent=request.agent or "",
            prompt=request.prompt or "",
            base=request.base or "",
            secrets=tuple(request.secret or ()),
            actor=actor(),
            placed=placed,
        )
    )


async def _ask_for_trust(request: Request, repository: Repository) -> execution.Placement:
    """Return where the job will run, with the trust that this needs obtained. Raises `Refused`."""
    worker = await sync_to_async(find_worker)(request.worker or "")
    placed = await execution.place(repository, worker)
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
    """Return the job running or ended; one that was interrupted, cancelled or not prepared is resumed."""
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
            commands = serializers.commands_for(job)
            say(f"Attach from a terminal with: {commands['attach']}")
            say(f"or by hand with:             {commands['manual']}")
        return 0
    # Without --wait a verdict is no failure of this command.
    return 0 if job.verdict else exit_code(job)
