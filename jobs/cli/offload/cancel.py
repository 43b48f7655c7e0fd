"""Verbs that end things: cancel, rm."""

from __future__ import annotations

from jobs import execution
from jobs.cli.offload.request import Request, actor
from jobs.cli.offload.wait import load
from jobs.cli.output import print_job_json
from jobs.errors import Refused


async def cancel(request: Request) -> int:
    """`offload cancel TARGET`: stop it; returns when its processes are gone."""
    job = await request.job()
    request.if_interrupted = f"Interrupted; {job.session} may still be running. Repeat the command."
    job = await execution.cancel(job.id, actor())
    if request.json:
        print_job_json(job)
    else:
        print(
            f"{job.session} is {job.state}; its processes are gone. "
            "Its worktree and logs stay until `offload rm`."
        )
    return 0


async def rm(request: Request) -> int:
    """`offload rm TARGET`: free its worktree and session; the record and the logs stay."""
    job = await request.job()
    if job.removed_at is not None:
        raise Refused(f"{job.session} was removed already.", hint="Its logs are in the archive.")
    if request.interactive and not await request.confirm(f"Remove {job.session} from {job.worker}?"):
        raise Refused("Nothing was removed.", hint="Answer y, or use --yes.")
    request.if_interrupted = f"Interrupted; {job.session} may be half removed. Repeat the command."
    removal = await execution.remove(job.id, force=request.force, actor=actor())
    if request.json:
        print_job_json(await load(job.id), bundle=removal.bundle)
        return 0
    print(
        f"{removal.session} is gone from {job.worker}: session, processes and worktree. "
        "Its logs are in the archive."
    )
    if removal.bundle:
        print(f"Work that was nowhere else is in {removal.bundle} (read it with `git fetch <bundle>`).")
    return 0
