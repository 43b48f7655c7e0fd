"""`offload wait TARGET...`: wait until jobs have ended; the exit code is the outcome."""

from __future__ import annotations

from jobs.cli.request import Request
from jobs.cli.several import act_on_each
from jobs.cli.waiting import wait_until_ended


async def run(request: Request) -> int:
    """Wait for the jobs."""
    return await act_on_each(request, wait_until_ended)
