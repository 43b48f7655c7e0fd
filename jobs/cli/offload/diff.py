"""`offload diff TARGET`: print the change under review."""

from __future__ import annotations

from jobs.cli.output import print_job_json, write_bytes
from jobs.cli.request import Request
from jobs.client import get_client
from jobs.errors import TooLarge

LIMIT = 60_000_000


async def run(request: Request) -> int:
    """Print the change."""
    job = await request.job()
    change = await get_client().diff(job.id, stat=request.stat, limit=LIMIT + 1)
    if len(change) > LIMIT:
        raise TooLarge(
            f"The change of {job.session} is larger than {LIMIT // 1_000_000} MB.",
            hint="See its files with --stat, or use git in its worktree: `offload shell`.",
        )
    if request.json:
        print_job_json(job, diff=change.decode(errors="replace"))
    else:
        write_bytes(change)
    return 0
