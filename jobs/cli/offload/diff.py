"""`offload diff TARGET`: print the change under review."""

from __future__ import annotations

from jobs import execution
from jobs.cli.output import print_job_json, write_bytes
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Print the change."""
    job = await request.job()
    change = await execution.diff(job.id, stat=request.stat)
    if request.json:
        print_job_json(job, diff=change.decode(errors="replace"))
    else:
        write_bytes(change)
    return 0
