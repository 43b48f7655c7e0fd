"""Which of several ways leads to a machine: the one that answered last, then the others in their order.

Only a route that does not connect leads to the next one. A server that answers and refuses (our key is not
taken, the host's key is another one) is the machine or an impostor, and no other way makes that better.
"""

from __future__ import annotations

import logging

from jobs.errors import ConnectFailed, TimedOut
from jobs.models import Worker
from jobs.providers.base import Instance, WorkerProvider
from jobs.transport import pool
from jobs.transport.endpoint import Endpoint
from jobs.transport.proxy import ProxyMissing
from jobs.workers.records import set_row

logger = logging.getLogger("offload.workers")

FALLS_THROUGH = (ConnectFailed, TimedOut, ProxyMissing)


async def way_to(worker: Worker, provider: WorkerProvider, instance: Instance) -> Endpoint:
    """Return where the worker's machine answers, with a connection there, and remember it on the row.

    With one way there is nothing to choose, and nothing is connected yet. Raises what the first way that
    was answered said no with, or `ConnectFailed` naming each route that had no answer.
    """
    ways = provider.ways(instance)
    if len(ways) == 1:
        return next(iter(ways.values()))
    known = worker.facts.get("way")
    failed: list[str] = []
    hint = ""
    for name in sorted(ways, key=lambda one: one != known):
        try:
            await pool.reach(ways[name])
        except FALLS_THROUGH as error:
            failed.append(f"{name}: {error.message}")
            hint = hint or error.hint
            continue
        if name != known and worker.id is not None:
            after = f" after {' '.join(failed)}" if failed else ""
            logger.log(
                logging.WARNING if failed else logging.INFO,
                "%s is reached by %s%s; that way is tried first from now on.", worker.name, name, after,
            )  # fmt: skip
            worker.facts = (await set_row(worker, way=name)).facts
        return ways[name]
    raise ConnectFailed(f"Connecting to {worker.name} failed in every way. {' '.join(failed)}", hint=hint)
