"""Launch or come back: the main command, and its siblings `attach` and `shell`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from asgiref.sync import sync_to_async

from jobs import execution, serializers
from jobs.cli.offload.request import Request, actor
from jobs.cli.offload.wait import come_back, exit_code, finish, wait_until_ended
from jobs.cli.output import StepPrinter, print_job, print_job_json, print_outcome, say
from jobs.cli.terminal.attach import attach_persistently, has_terminal
from jobs.errors import MachineDown, NotFound, OffloadError, Refused, UsageError
from jobs.forges.target import Target
from jobs.models import Job, Repository
from jobs.playbooks import registry as playbooks
from jobs.states import JobState, Reason
from jobs.workers import TerminalRequest, find_worker

HEAD_CHECK_SECONDS = 2.0


async def launch(request: Request) -> int:
    """`offload TARGET [ACTION]`: start the job, or come back to it."""
    if not request.words:
        raise UsageError("No target was named.", hint="Name a pull request (123), its URL, or a branch.")
    if request.timeout and not request.wait:
        raise UsageError("--timeout says how long to wait, and --wait is missing.", hint="Add --wait.")
    target = request.target()
    action = request.action() or playbooks.DEFAULT
    if target.kind == "issue":
        raise UsageError(
            f"{request.words[0]} is an issue, and {action} needs a pull request or a branch.",
            hint="Name the pull request that addresses it.",
        )
    steps = StepPrinter(quiet=request.json)
    repository = await request.repository(target)
    steps.part(1, f"Taking {target.shown} of {repository.slug}")
    await _ask_for_trust(request, repository)
    job, created = await _submit(request, repository, target, action)
    if request.fresh and not created:
        if job.removed_at is None:
            # The old job is all there is when the head is gone.
            await execution.check_head(job.id)
        steps.part(1, f"Removing the old {job.session}")
        await execution.remove(job.id, force=request.force, actor=actor())
        job, created = await _submit(request, repository, target, action)
    request.if_interrupted = "Interrupted before the job was started. The same command goes on with it."
    try:
        job = await _bring_up(job, created, steps)
    except Exception:
        if created:
            # Nothing half-made is left of a job that this command made and could not start.
            with contextlib.suppress(OffloadError):
                await execution.discard(job.id)
        raise
    if job.is_active:
        request.if_interrupted = f"Interrupted; the job goes on. {come_back(job)}"
        steps.part(5, _safe_to_leave(job))
    if request.wait:
        return await wait_until_ended(request, job)
    if request.detach or not request.interactive:
        return _leave(request, job)
    return await _attach(request, job)


def _safe_to_leave(job: Job) -> str:
    if job.worker.provider == "local":
        # Honest: a sleeping laptop is a sleeping worker.
        return (
            f"{job.session} runs by itself: it is safe to close this terminal "
            "(the worker is this machine, so keep it awake)"
        )
    return f"{job.session} runs by itself on {job.worker}: it is safe to close your laptop"


async def _submit(request: Request, repository: Repository, target: Target, action: str) -> tuple[Job, bool]:
    return await execution.submit(
        execution.JobRequest(
            repository=repository,
            target=target,
            action=action,
            worker=request.worker or "",
            agent=request.agent or "",
            prompt=request.prompt or "",
            secrets=tuple(request.secret or ()),
            actor=actor(),
        )
    )


async def _ask_for_trust(request: Request, repository: Repository) -> None:
    """Have the trust that the job will need, before there is a job."""
    worker = await sync_to_async(find_worker)(request.worker or "")
    placed = await execution.place(repository, worker)
    wanted = Job(repository=repository, worker=placed.worker, options={"placement": placed.why})
    try:
        await execution.ensure_trusted(wanted)
    except Refused as refusal:
        # --yes answers questions about this job; whose code may run as you is asked by its own name.
        if not request.trust and not (
            request.interactive
            and not request.yes
            and await request.confirm(f"{refusal.message}\nTrust everyone who can open a pull request there?")
        ):
            raise
        await execution.trust(repository.id, actor())


async def _bring_up(job: Job, created: bool, steps: StepPrinter) -> Job:
    """Have the job running or ended; one that was interrupted, cancelled or never prepared goes on."""
    if not created:
        job = await execution.refresh(job.id)
        if job.state == JobState.CANCELLED or (
            job.state == JobState.FAILED and job.reason == Reason.PREPARE_FAILED
        ):
            steps.part(1, f"{job.session} had ended ({job.state}) and is started again")
            await execution.resume(job.id, actor())
        elif job.state == JobState.INTERRUPTED:
            steps.part(1, f"{job.session} was interrupted and is resumed. {job.reason_text}")
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
            f"The head of {job.target} has moved: this job is about {job.sha[:10]}, the head is now "
            f"{job.moved_to[:10]}. Use --fresh to start over on the new commit."
        )


def _leave(request: Request, job: Job) -> int:
    """End without attaching: the job's row is what this command prints."""
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
    # Without --wait a verdict is news, not a failure of this command.
    return 0 if job.verdict else exit_code(job)


async def _attach(request: Request, job: Job, *, read_only: bool = False) -> int:
    request.if_interrupted = f"Interrupted; the job goes on. {come_back(job)}"
    try:
        ended_by = await _join(TerminalRequest(job.id, read_only=read_only, term=_term()))
    except (NotFound, MachineDown):
        job = await execution.refresh(job.id)
        if not job.has_ended:
            raise
        # An ended job may have no session any more; its outcome is still there.
        ended_by = None
    if ended_by is not None:
        return 128 + ended_by
    job = await execution.refresh(job.id)
    if job.is_active:
        say(f"Detached; the job goes on. {come_back(job)}")
        return 0
    await finish(request, job)
    return 0 if job.verdict else exit_code(job)


async def _join(how: TerminalRequest) -> signal.Signals | None:
    if os.environ.get("TMUX"):
        say("You are inside tmux: Ctrl-b goes to the outer one. Detach from the job with Ctrl-b Ctrl-b d.")
    return (await attach_persistently(how)).ended_by


def _term() -> str:
    return os.environ.get("TERM") or "xterm-256color"


def _need_terminal(request: Request) -> None:
    if not has_terminal() or request.no_input:
        raise UsageError(
            "Attaching needs a terminal, and this command has none.",
            hint="Use `offload peek`, `offload logs` or `offload wait` in scripts.",
        )


async def attach(request: Request) -> int:
    """`offload attach TARGET`: join the session of a job that is there."""
    _need_terminal(request)
    return await _attach(request, await request.job(), read_only=request.read_only)


async def shell(request: Request) -> int:
    """`offload shell TARGET`: a shell of its own in the job's worktree."""
    _need_terminal(request)
    job = await request.job()
    if not job.worktree:
        raise Refused(f"{job.session} has no worktree yet: it is {job.state}.", hint="Wait until it runs.")
    ended_by = await _join(TerminalRequest(job.id, kind="shell", term=_term()))
    if ended_by is not None:
        return 128 + ended_by
    say("Detached shells stay open: the same command comes back to them until the job is removed.")
    return 0
