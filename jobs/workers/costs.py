"""What running costs: an estimate from prices and from when a machine ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from django.utils import timezone

from jobs.models import Job, JobEvent, Worker
from jobs.providers.base import Price
from jobs.states import WorkerState
from jobs.workers.machines import cloud_or_none, spec_of_machine

Span = tuple[datetime, datetime]
# From the moment it is asked for until it is down, a machine costs.
_COSTS = frozenset(
    {
        WorkerState.CREATING,
        WorkerState.BOOTING,
        WorkerState.READY,
        WorkerState.STOPPING,
        WorkerState.UNREACHABLE,
    }
)


@dataclass(frozen=True)
class Cost:
    """An estimate for one worker, in the price's currency. `hours`: how long it ran, in all."""

    price: Price
    hours: float
    so_far: float


def spans_of(moves: Sequence[tuple[datetime, str]], now: datetime) -> list[Span]:
    """Return when a machine ran, from its moves (moment, state) in order. Pure."""
    spans: list[Span] = []
    begun: datetime | None = None
    for at, state in moves:
        if state in _COSTS:
            begun = begun or at
        elif begun is not None:
            spans.append((begun, at))
            begun = None
    if begun is not None:
        spans.append((begun, now))
    return spans


def hours_of(spans: Sequence[Span]) -> float:
    """Return the hours in spans. Pure."""
    return sum((end - start for start, end in spans), timedelta()).total_seconds() / 3600


def shares(jobs: Sequence[tuple[int, datetime, datetime]]) -> dict[int, float]:
    """Return each job's share of the machine's hours: time that several jobs ran at once is divided. Pure."""
    marks = sorted({moment for _, start, end in jobs for moment in (start, end)})
    found = {job: 0.0 for job, _, _ in jobs}
    for start, end in pairwise(marks):
        running = [job for job, begun, ended in jobs if begun <= start and ended >= end]
        for job in running:
            found[job] += (end - start).total_seconds() / 3600 / len(running)
    return found


async def price_of(worker: Worker) -> Price | None:
    """Return what the worker's machine costs; None when it costs nothing or the price is not known."""
    provider = cloud_or_none(worker)
    if provider is None:
        return None
    return await provider.price(spec_of_machine(worker, user_data=False))


async def cost_of(worker: Worker) -> Cost | None:
    """Return what the worker has cost so far, as an estimate; None when that is not known."""
    price = await price_of(worker)
    if price is None:
        return None
    events = JobEvent.objects.filter(worker=worker, kind="worker_state").order_by("id")
    moves = [(at, str(data.get("state"))) async for at, data in events.values_list("at", "data")]
    hours = hours_of(spans_of(moves, timezone.now()))
    return Cost(price, hours, hours * price.running)


async def costs_of_jobs(worker: Worker, price: Price) -> dict[int, float]:
    """Return what each job of a worker has cost, as an estimate: its share of the machine's hours."""
    now = timezone.now()
    rows = Job.objects.filter(worker=worker, started_at__isnull=False)
    spans = [
        (number, start, max(start, end or now))
        async for number, start, end in rows.values_list("id", "started_at", "finished_at")
        if start is not None
    ]
    return {job: hours * price.running for job, hours in shares(spans).items()}
