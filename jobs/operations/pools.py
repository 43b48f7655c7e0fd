"""Pools: workers of one class, which jobs ask for by the name of the class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.db import transaction

from jobs.errors import Refused, UsageError
from jobs.models import Job, Pool, Worker
from jobs.operations.confirmation import ConfirmationPlan
from jobs.operations.workers import check_worker_name, get_worker
from jobs.states import JOB_ACTIVE, JobState
from jobs.workers.capacity import slots_of
from jobs.workers.costs import price_of
from jobs.workers.machines import is_cloud
from jobs.workers.pools import NAME, ROOT, find_pool, most_workers

HIGHEST = 200
_FIGURES = ("minimum", "warm", "maximum", "jobs_per_worker")
_COLUMNS = (*_FIGURES, "provider", "config", "root", "price", "ceiling")
_OF_ONE_MACHINE = ("alias",)  # settings that a second machine cannot share


@dataclass(frozen=True)
class PoolRequest:
    """A pool to make or change; None leaves a figure as it is.

    `like`: the worker whose settings new machines get. `add`, `leave`: names of workers that join or leave.
    `ceiling`: USD an hour for all machines of the pool together; 0: none.
    """

    name: str
    like: str = ""
    add: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    minimum: int | None = None
    warm: int | None = None
    maximum: int | None = None
    jobs_per_worker: int | None = None
    ceiling: float | None = None


@dataclass(frozen=True)
class PoolPlan:
    """What `save_pool` will save. `confirmation`: None when no machine can be made that could not before."""

    pool: Pool
    joining: tuple[Worker, ...]
    leaving: tuple[Worker, ...]
    confirmation: ConfirmationPlan | None


@dataclass(frozen=True)
class PoolOverview:
    """A pool with its workers, their `slots` in all, and how many jobs are at work and queued in it."""

    pool: Pool
    workers: tuple[Worker, ...]
    slots: int
    at_work: int
    queued: int


async def plan_pool(request: PoolRequest) -> PoolPlan:
    """Return what making or changing a pool means. Changes nothing.

    Raises `UsageError` (impossible figures), `NotFound` (a worker), `Refused` (a worker of another pool).
    """
    check_worker_name(request.name)
    pool = await Pool.objects.filter(name=request.name).afirst() or Pool(name=request.name)
    before = most_workers(pool)
    if request.like:
        await _take_template(pool, await get_worker(request.like))
    for key in _FIGURES:
        if (value := getattr(request, key)) is not None:
            setattr(pool, key, value)
    if request.ceiling is not None:
        pool.ceiling = request.ceiling or None
    _check_figures(pool)
    joining = [await get_worker(name) for name in request.add]
    leaving = [await get_worker(name) for name in request.leave]
    for worker in joining:
        if worker.pool_id not in (None, pool.id):
            raise Refused(
                f"{worker} is in another pool.",
                hint="A worker is in one pool: let it --leave that one first.",
            )
    for worker in leaving:
        if worker.pool_id is None or worker.pool_id != pool.id:
            raise UsageError(f"{worker} is not in the pool {pool}.")
    confirmation = _ask_for_machines(pool) if most_workers(pool) > before else None
    return PoolPlan(pool, tuple(joining), tuple(leaving), confirmation)


async def _take_template(pool: Pool, worker: Worker) -> None:
    if not is_cloud(worker):
        raise UsageError(
            f"Offload cannot make machines like {worker}, which is of kind {worker.provider}.",
            hint=f"Add existing machines instead: `offload fleet pool {pool} --add {worker}`.",
        )
    text = json.dumps({key: value for key, value in worker.config.items() if key not in _OF_ONE_MACHINE})
    pool.config = json.loads(text.replace(worker.root, ROOT))
    pool.provider = worker.provider
    pool.root = worker.root.replace(f"/{worker.name}/", f"/{NAME}/")
    price = None if worker.config.get("simulated") else await price_of(worker)
    pool.price = price.running if price is not None else None


def _check_figures(pool: Pool) -> None:
    if pool.ceiling is not None and pool.price is None and pool.provider:
        raise UsageError("The price of these machines is not known, so no ceiling can hold.")
    most = most_workers(pool)
    limit = "the price ceiling allows" if most < pool.maximum else "--max allows"
    for key, value in (("--min", pool.minimum), ("--warm", pool.warm)):
        if value > most:
            raise UsageError(f"{key} {value} is more than the {most} machines that {limit}.")
    if pool.maximum > HIGHEST:
        raise UsageError(f"--max {pool.maximum} is more than {HIGHEST}.")
    if pool.maximum and not pool.provider:
        raise UsageError(
            f"The pool {pool} has no template for its machines.", hint="Name a worker to copy: --like WORKER."
        )


def _ask_for_machines(pool: Pool) -> ConfirmationPlan:
    most = most_workers(pool)
    machines = f"{most} machine{'' if most == 1 else 's'}"
    always = f" {max(pool.minimum, pool.warm)} of them run at any time." if pool.minimum or pool.warm else ""
    cost = ""
    if pool.price:
        together = f"; all together {most * pool.price:.2f} USD" if most > 1 else ""
        cost = f"One costs about {pool.price:.2f} USD an hour while it runs{together}."
    return ConfirmationPlan(
        f"Let jobs of the class {pool} start up to {machines} without a further question?",
        (f"Jobs of the class {pool} make machines when they need them, {machines} at most.{always}",),
        cost,
    )


@sync_to_async
def save_pool(plan: PoolPlan) -> Pool:
    """Save a plan; return the pool."""
    with transaction.atomic():
        values = {name: getattr(plan.pool, name) for name in _COLUMNS}
        pool, _ = Pool.objects.update_or_create(values, name=plan.pool.name)
        Worker.objects.filter(id__in=[worker.id for worker in plan.leaving]).update(pool=None)
        Worker.objects.filter(id__in=[worker.id for worker in plan.joining]).update(pool=pool)
    return pool


@sync_to_async
def list_pools(name: str = "") -> Sequence[PoolOverview]:
    """Return all pools, or the one of a name, as last observed. Raises `NotFound`."""
    pools = [find_pool(name)] if name else list(Pool.objects.all())
    return [_describe(pool) for pool in pools]


def _describe(pool: Pool) -> PoolOverview:
    workers = tuple(pool.workers.select_related("pool").order_by("name"))
    jobs = Job.objects.filter(removed_at__isnull=True)
    at_work = jobs.filter(state__in=JOB_ACTIVE - {JobState.QUEUED}, worker__in=workers).count()
    queued = jobs.filter(state=JobState.QUEUED, pool=pool).count()
    return PoolOverview(pool, workers, sum(map(slots_of, workers)), at_work, queued)


@sync_to_async
def remove_pool(name: str) -> Sequence[Worker]:
    """Remove a pool; return its workers, which stay. Raises `NotFound`, `Refused` while jobs wait in it."""
    with transaction.atomic():
        pool = Pool.objects.select_for_update().get(id=find_pool(name).id)
        waiting = pool.jobs.filter(removed_at__isnull=True, state=JobState.QUEUED).count()
        if waiting:
            raise Refused(
                f"{waiting} jobs wait for a worker of the pool {pool}.",
                hint="Cancel them, or let them start.",
            )
        workers = list(pool.workers.all())
        pool.delete()
    return workers
