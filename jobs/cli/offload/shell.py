"""`offload shell TARGET`: open a shell in the worktree of a job."""

from __future__ import annotations

from jobs.cli.attaching import attach, refuse_remote, require_terminal, terminal_type
from jobs.cli.output import say
from jobs.cli.request import Request
from jobs.errors import Refused
from jobs.workers import TerminalRequest


async def run(request: Request) -> int:
    """Open the shell, or attach to it again."""
    await refuse_remote(request)
    require_terminal(request)
    job = await request.job()
    if not job.worktree:
        raise Refused(f"{job.session} has no worktree yet: it is {job.state}.", hint="Wait until it runs.")
    if code := await attach(TerminalRequest(job.id, kind="shell", term=terminal_type())):
        return code
    say("A detached shell stays open until the job is removed. The same command attaches to it again.")
    return 0
