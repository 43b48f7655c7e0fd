"""`offload cancel TARGET...`: stop jobs and return when their processes have ended."""

from __future__ import annotations

from jobs.cli.output import print_job_json
from jobs.cli.request import Request, actor
from jobs.cli.several import act_on_each
from jobs.client import get_client
from jobs.models import Job


async def run(request: Request) -> int:
    """Cancel the jobs."""
    return await act_on_each(request, _cancel)


async def _cancel(request: Request, job: Job) -> int:
    request.if_interrupted = f"Interrupted; {job.session} may still be running. Repeat the command."
    job = await get_client().cancel(job.id, actor())
    if request.json:
        print_job_json(job)
    else:
        print(
            f"{job.session} is {job.state} and its processes have ended. "
            "Its worktree and logs stay until `offload rm`."
        )
    return 0
