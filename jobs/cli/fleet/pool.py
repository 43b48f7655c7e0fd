"""`offload fleet pool [NAME]`: list the pools, or make, change or remove one."""

from __future__ import annotations

from jobs import operations
from jobs.cli.confirming import confirm
from jobs.cli.output import print_json, say
from jobs.cli.request import Request
from jobs.cli.table import table_lines
from jobs.errors import UsageError
from jobs.serializers import pool_json


async def run(request: Request) -> int:
    """Change the pool as the options say; then print it, or all of them."""
    name = request.words[0] if request.words else ""
    changes = {
        "like": request.like or "",
        "add": tuple(request.add or ()),
        "leave": tuple(request.leave or ()),
        "minimum": request.min,
        "warm": request.warm,
        "maximum": request.max,
        "jobs_per_worker": request.jobs_per_worker,
        "ceiling": request.ceiling,
    }
    is_change = any(value not in (None, "", ()) for value in changes.values())
    if (is_change or request.remove) and not name:
        raise UsageError("The name of the pool is missing.", hint="Write `offload fleet pool NAME`.")
    if is_change and request.remove:
        raise UsageError("--remove takes no other option of a pool.", hint="Leave one out.")
    if request.remove:
        return await _remove(request, name)
    if is_change:
        plan = await operations.plan_pool(operations.PoolRequest(name, **changes))
        if plan.confirmation is not None:
            await confirm(request, plan.confirmation)
        await operations.save_pool(plan)
    pools = await operations.list_pools(name)
    if request.json:
        print_json(
            "pools",
            [
                pool_json(one.pool, one.workers, slots=one.slots, at_work=one.at_work, queued=one.queued)
                for one in pools
            ],
        )
        return 0
    if not pools:
        say("There is no pool. `offload fleet pool NAME --add WORKER` makes one.")
    for line in table_lines([_cells(one) for one in pools]):
        print(line)
    return 0


async def _remove(request: Request, name: str) -> int:
    workers = await operations.remove_pool(name)
    if request.json:
        print_json("removed", {"pool": name, "workers": [worker.name for worker in workers]})
        return 0
    stay = f"; its workers stay: {', '.join(worker.name for worker in workers)}" if workers else ""
    print(f"The pool {name} is gone{stay}.")
    return 0


def _cells(one: operations.PoolOverview) -> tuple[str, ...]:
    pool = one.pool
    limit = f" of at most {pool.maximum}" if pool.provider else ""
    figures = {
        "min": pool.minimum,
        "warm": pool.warm,
        "jobs per worker": pool.jobs_per_worker,
        "USD an hour at most": pool.ceiling,
    }
    return (
        pool.name,
        f"{len(one.workers)} workers{limit}",
        f"{one.at_work} of {one.slots} slots used",
        f"{one.queued} queued",
        ", ".join(f"{value:g} {key}" for key, value in figures.items() if value)
        or " ".join(worker.name for worker in one.workers),
    )
