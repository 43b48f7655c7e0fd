"""`offload peek TARGET`: print the screen of the session."""

from __future__ import annotations

from jobs import execution
from jobs.cli.output import print_job_json, write_bytes
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Print the screen."""
    job = await request.job()
    screen = await execution.peek(job.id, lines=request.lines)
    if request.json:
        print_job_json(job, screen=screen)
    else:
        write_bytes(screen.encode())
    return 0
