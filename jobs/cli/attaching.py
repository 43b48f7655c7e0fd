"""Attach the user's terminal to the session of a job, and report how the attachment ended."""

from __future__ import annotations

import os

from jobs import execution
from jobs.cli.output import say
from jobs.cli.request import Request, has_terminal
from jobs.cli.terminal.attach import attach_persistently
from jobs.cli.waiting import describe_return, exit_code, finish
from jobs.client import get_remote
from jobs.errors import MachineDown, NotFound, UsageError
from jobs.models import Job
from jobs.workers import TerminalRequest

SIGNAL_BASE = 128  # a shell's exit code for a program that a signal ended


def require_terminal(request: Request) -> None:
    """Raise `UsageError` unless standard input and output are a terminal that may be used."""
    if not has_terminal() or request.no_input:
        raise UsageError(
            "Attaching needs a terminal, and this command has none.",
            hint="Use `offload peek`, `offload logs` or `offload wait` in scripts.",
        )


async def refuse_remote(request: Request) -> None:
    """Raise `UsageError` with the job's page when it is one of a remote dashboard."""
    if (client := get_remote()) is not None:
        job = await request.job()
        raise UsageError(
            f"A terminal of {job.session} cannot be opened here: it is a job of {client.server}.",
            hint=f"Open its page: {client.page_of(job)}\nWith access to its worker, this attaches too: "
            f"{client.commands_for(job)['manual']}",
        )


async def attach_to_job(request: Request, job: Job, *, read_only: bool = False) -> int:
    """Attach to the session until it is detached or ends; return the exit code."""
    request.if_interrupted = f"Interrupted; the job keeps running. {describe_return(job)}"
    try:
        code = await attach(TerminalRequest(job.id, read_only=read_only, term=terminal_type()))
    except (NotFound, MachineDown):
        job = await execution.refresh(job.id)
        if not job.has_ended:
            raise
        # An ended job may have no session any more; its outcome is still known.
        code = 0
    if code:
        return code
    job = await execution.refresh(job.id)
    if job.is_active:
        say(f"Detached; the job keeps running. {describe_return(job)}")
        return 0
    await finish(request, job)
    return 0 if job.verdict else exit_code(job)


async def attach(terminal: TerminalRequest) -> int:
    """Attach until detached. Returns 0, or the exit code for the signal that ended this command."""
    if os.environ.get("TMUX"):
        say("You are inside tmux: Ctrl-b goes to the outer tmux. Detach from the job with Ctrl-b Ctrl-b d.")
    ended_by = (await attach_persistently(terminal)).ended_by
    return 0 if ended_by is None else SIGNAL_BASE + ended_by


def terminal_type() -> str:
    """Return the TERM of the user's terminal."""
    return os.environ.get("TERM") or "xterm-256color"
