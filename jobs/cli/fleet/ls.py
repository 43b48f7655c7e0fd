"""`offload fleet ls`: list every worker with its observed state, its jobs and its costs."""

from __future__ import annotations

from jobs import operations
from jobs.cli.fleet.machine_output import describe_machine
from jobs.cli.output import colour, plain, print_json, say
from jobs.cli.request import Request
from jobs.formats import format_age
from jobs.serializers import worker_json
from jobs.workers import words_for_ssh


async def run(request: Request) -> int:
    """List the workers."""
    overviews = await operations.list_workers(say)
    if request.json:
        shown = [worker_json(one.worker, jobs=one.jobs, idle=one.idle, cost=one.cost) for one in overviews]
        print_json("workers", shown)
        return 0
    for one in overviews:
        worker = one.worker
        jobs = f"{one.jobs} job{'' if one.jobs == 1 else 's'}"
        print(f"{colour(worker.name, 'bold')}  {worker.provider}  {worker.state}  {jobs}  {worker.root}")
        detail = plain(worker.state_detail or "Not observed yet.")
        print(f"  {detail} Observed {format_age(worker.observed_at)}.")
        for line in describe_machine(one):
            print(f"  {plain(line)}")
        if (words := words_for_ssh(worker)) is not None:
            print(f"    {colour('manual', 'dim')}  ssh {words}")
    return 0
