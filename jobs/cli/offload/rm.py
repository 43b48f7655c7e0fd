"""`offload rm TARGET...`: remove the worktree and the session of jobs; their record and logs stay."""

from __future__ import annotations

from jobs.cli.output import print_job_json
from jobs.cli.request import Request, actor
from jobs.cli.several import act_on_each
from jobs.cli.waiting import load
from jobs.client import get_client
from jobs.errors import Refused
from jobs.models import Job


async def run(request: Request) -> int:
    """Remove the files of the jobs from their workers."""
    return await act_on_each(request, _remove)


async def _remove(request: Request, job: Job) -> int:
    if job.removed_at is not None:
        raise Refused(f"{job.session} was already removed.", hint="Its logs are in the archive.")
    if request.interactive and not await request.confirm(f"Remove {job.session} from {job.worker}?"):
        raise Refused("Nothing was removed.", hint="Answer y, or pass --yes.")
    request.if_interrupted = f"Interrupted; {job.session} may be partly removed. Repeat the command."
    removal = await get_client().remove(job.id, force=request.force, actor=actor())
    if request.json:
        print_job_json(
            await load(job.id), bundle=removal.bundle, kept=removal.kept, notes=list(removal.notes)
        )
        return 0
    print(
        f"{removal.session} was removed from {job.worker}: session, processes and worktree. "
        "Its logs are in the archive."
    )
    for note in removal.notes:
        print(note)
    if removal.bundle:
        print(f"Work that existed nowhere else is in {removal.bundle} (read it with `git fetch <bundle>`).")
    return 0
