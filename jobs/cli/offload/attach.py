"""`offload attach TARGET`: attach to the session of an existing job."""

from __future__ import annotations

from jobs.cli.attaching import attach_to_job, refuse_remote, require_terminal
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Attach to the session."""
    await refuse_remote(request)
    require_terminal(request)
    return await attach_to_job(request, await request.job(), read_only=request.read_only)
