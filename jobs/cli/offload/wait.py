"""`offload wait TARGET`: wait until a job has ended; the exit code is the outcome."""

from __future__ import annotations

from jobs.cli.request import Request
from jobs.cli.waiting import wait_until_ended


async def run(request: Request) -> int:
    """Wait for the job."""
    return await wait_until_ended(request, await request.job())
