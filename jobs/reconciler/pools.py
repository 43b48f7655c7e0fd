"""The duty that keeps pools: machines that are up before a job needs them, and none that is not needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from jobs.execution.scheduling import AT_WORK
from jobs.models import Job, Pool, Worker
from jobs.providers.base import Ability
from jobs.providers.registry import make_cloud
from jobs.reconciler.loop import Duty, Work
from jobs.states import WorkerDesired, WorkerState
from jobs.workers import fleet, idle
from jobs.workers.pools import claim_worker, workers_to_make
from jobs.workers.provision import bring_up

POOLS_SECONDS = 10.0
KEEP = timedelta(hours=1)
RENEW = timedelta(minutes=20)
# A machine that was stopped for so long, with no job's files, is deleted with its disk.
UNUSED = timedelta(hours=24)
ACTOR = "pool"
_UP = (WorkerState.READY, WorkerState.BOOTING, WorkerState.CREATING)
_Do = Callable[[], Coroutine[Any, Any, None]]


class KeepPools(Duty):
    """Start and keep the machines that a pool is to have at any time; delete those that nothing uses."""

    name = "pool"
    pause = POOLS_SECONDS

    async def find(self) -> AsyncIterator[Work]:
        """Return what is to be done about the workers of each pool that makes them."""
        async for pool in Pool.objects.exclude(provider=""):
            if (provider := make_cloud(pool.provider, pool.config)) and Ability.WARM in provider.abilities:
                continue  # it keeps warm machines itself
            for worker_id, do in await sync_to_async(_find_in)(pool.id):
                yield Work(worker_id, do)


def _find_in(pool_id: int) -> list[tuple[int, _Do]]:
    with transaction.atomic():
        pool = Pool.objects.select_for_update().get(id=pool_id)
        made = [worker for worker in pool.workers.order_by("id") if worker.provider == pool.provider]
        wanted = [worker for worker in made if worker.desired == WorkerDesired.UP]
        up = [worker for worker in wanted if worker.state in _UP]
        at_work = Job.objects.filter(worker__in=up, removed_at__isnull=True, state__in=AT_WORK)
        busy = set(at_work.values_list("worker_id", flat=True))
        unused = [worker for worker in up if worker.id not in busy]
        missing = max(pool.minimum - len(up), pool.warm - len(unused), 0)
        # A claim without a machine yet comes first, then one that turned itself off.
        down = (WorkerState.ABSENT, WorkerState.STOPPED)
        start = [worker for state in down for worker in wanted if worker.state == state][:missing]
        for _ in range(min(missing - len(start), workers_to_make(pool, made))):
            start.append(claim_worker(pool))
        # The busy ones count for the minimum, so as few as possible of the others are kept from stopping.
        kept = unused[: max(pool.warm, pool.minimum - len(busy))]
    surplus = _choose_unused(pool, wanted, start)
    return [
        *((worker.id, partial(_start, worker.id)) for worker in start),
        *((worker.id, partial(_keep, worker.id)) for worker in kept if worker.state == WorkerState.READY),
        *((worker.id, partial(_delete, worker.id)) for worker in surplus),
    ]


def _choose_unused(pool: Pool, wanted: Sequence[Worker], start: Sequence[Worker]) -> list[Worker]:
    """Return the machines to delete: stopped for long, without a job's files, not needed for the minimum."""
    long_ago = timezone.now() - UNUSED
    old = [
        worker
        for worker in wanted
        if worker.state == WorkerState.STOPPED and worker.state_since < long_ago and worker not in start
    ]
    used = Job.objects.filter(worker__in=old, removed_at__isnull=True).values_list("worker_id", flat=True)
    spare = max(0, len(wanted) - max(pool.minimum, pool.warm))
    return [worker for worker in old if worker.id not in set(used)][:spare]


async def _start(worker_id: int) -> None:
    await bring_up(await Worker.objects.aget(id=worker_id), make=True)


async def _keep(worker_id: int) -> None:
    """Have the machine's idle rule wait for another while."""
    worker = await Worker.objects.aget(id=worker_id)
    now = timezone.now()
    until = idle.moment_of((worker.facts.get("kept") or {}).get("until"))
    if until is None or until - now < RENEW:
        await idle.keep(worker, now + KEEP, ACTOR)


async def _delete(worker_id: int) -> None:
    worker = await Worker.objects.aget(id=worker_id)
    if not await Job.objects.filter(worker=worker, removed_at__isnull=True).aexists():
        await fleet.delete(worker, with_disk=True)
