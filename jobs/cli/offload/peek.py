"""`offload peek TARGET`: print the screen of the session."""

from __future__ import annotations

from jobs.cli.output import print_job_json, write_bytes
from jobs.cli.request import Request
from jobs.client import get_client


async def run(request: Request) -> int:
    """Print the screen."""
    job = await request.job()
    screen = await get_client().peek(job.id, request.lines)
    if request.json:
        print_job_json(job, screen=screen)
    else:
        write_bytes(screen.encode())
    return 0
