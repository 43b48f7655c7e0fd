"""Pools: which of their workers there may be, and which are kept up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence

from jobs.errors import NotFound
from jobs.models import Pool, Worker
from jobs.remote.layout import socket_for_root
from jobs.states import WorkerDesired, WorkerState
from jobs.transitions import set_desired
from jobs.workers.records import create_worker

# What stands in a template for the name and the root of a new worker.
NAME = "{name}"
ROOT = "{root}"


def find_pool(name: str) -> Pool:
    """Return the pool of a name. Raises `NotFound`."""
    pool = Pool.objects.filter(name=name).first()
    if pool is None:
        known = ", ".join(Pool.objects.values_list("name", flat=True))
        raise NotFound(
            f"There is no pool called {name!r}.",
            hint=f"Known pools: {known}." if known else "Make one: `offload fleet pool NAME --add WORKER`.",
        )
    return pool


def most_workers(pool: Pool) -> int:
    """Return how many workers the pool may have made: its maximum, as far as its price ceiling reaches."""
    if not pool.provider:
        return 0
    if pool.ceiling is None or not pool.price:
        return pool.maximum
    return min(pool.maximum, int(pool.ceiling / pool.price + 1e-9))


def _is_unused(worker: Worker) -> bool:
    """Return whether the worker's machine was deleted: its row can have a new one."""
    return worker.desired == WorkerDesired.GONE and worker.state == WorkerState.ABSENT


def workers_to_make(pool: Pool, members: Collection[Worker]) -> int:
    """Return how many workers may be made in addition to its members. Pure."""
    made = [one for one in members if one.provider == pool.provider and not _is_unused(one)]
    return max(0, most_workers(pool) - len(made))


def claim_worker(pool: Pool) -> Worker:
    """Return a worker whose machine is to be made for the next job; its row is the claim.

    The caller holds the pool's row. The launch of the job makes the machine.
    """
    members: Sequence[Worker] = list(pool.workers.order_by("id"))
    for member in members:
        if member.provider == pool.provider and _is_unused(member):
            set_desired(member.id, WorkerDesired.UP)
            return Worker.objects.get(id=member.id)
    used = set(Worker.objects.values_list("name", flat=True))
    name = next(name for n in itertools.count(1) if (name := f"{pool.name}-{n}") not in used)
    root = pool.root.replace(NAME, name)
    config = json.loads(json.dumps(pool.config).replace(ROOT, root))
    if config.get("tmux_socket"):
        config["tmux_socket"] = socket_for_root(root, "")
    worker = create_worker(name, pool.provider, root, config)
    Worker.objects.filter(id=worker.id).update(pool=pool)
    return Worker.objects.select_related("pool").get(id=worker.id)
