"""What running costs: an estimate from prices and from when a machine ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter

from django.db.models import Q
from django.utils import timezone

from jobs.models import Job, JobEvent, Worker
from jobs.providers.base import Price
from jobs.remote.offload_runner import protocol
from jobs.states import JobState, WorkerState
from jobs.workers.machines import cloud_or_none, spec_of_machine

Span = tuple[datetime, datetime]
DISK_GONE = "disk_gone"  # the kind of event that a deleted data disk leaves
# A machine costs from the moment it exists until it is down. While it is `creating`, there may be none.
_COSTS = frozenset(
    {
        WorkerState.BOOTING,
        WorkerState.READY,
        WorkerState.STOPPING,
        WorkerState.UNREACHABLE,
    }
)
_HAS_DISK = frozenset({WorkerState.BOOTING, WorkerState.READY})
_AT_WORK = frozenset({JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING})


@dataclass(frozen=True)
class Cost:
    """An estimate for one worker, in the price's currency. `hours`: how long it ran, in all.

    `so_far` and `month` (the calendar month in UTC) count its disks while it is down, too.
    """

    price: Price
    hours: float
    so_far: float
    month: float


@dataclass(frozen=True)
class JobCost:
    """An estimate for one job. `hours`: its share of the hours of the machine."""

    price: Price
    hours: float

    @property
    def amount(self) -> float:
        """Return what that share costs, in the price's currency."""
        return self.hours * self.price.running


def spans_of(moves: Sequence[tuple[datetime, str]], now: datetime) -> list[Span]:
    """Return when a machine ran, from its moves (moment, state) in order. Pure."""
    return _spans(((at, state in _COSTS) for at, state in moves), now)


def disk_spans_of(moves: Sequence[tuple[datetime, str]], now: datetime) -> list[Span]:
    """Return when its data disk existed: from its first boot until the disk was deleted. Pure."""
    there = [(at, state in _HAS_DISK) for at, state in moves if state in _HAS_DISK or state == DISK_GONE]
    return _spans(there, now)


def work_spans_of(events: Iterable[tuple[datetime, str, str]], now: datetime) -> list[Span]:
    """Return when a job was at work, from its events (moment, kind, state) in order. Pure.

    What its journal says comes from the worker's own clock, and may be read long afterwards; the state that
    follows from it is of the reading, and then says nothing new.
    """
    marks: list[tuple[datetime, bool]] = []
    for at, kind, state in events:
        if kind == protocol.STARTED:
            marks.append((at, True))
        elif kind == protocol.FINISHED:
            marks.append((at, False))
        elif kind == "state":
            marks.append((at, state in _AT_WORK))
    return _spans(marks, now)


def _spans(marks: Iterable[tuple[datetime, bool]], now: datetime) -> list[Span]:
    spans: list[Span] = []
    begun: datetime | None = None
    for at, on in marks:
        if on:
            begun = begun or at
        elif begun is not None:
            if at > begun:
                spans.append((begun, at))
            begun = None
    if begun is not None and now > begun:
        spans.append((begun, now))
    return spans


def common(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """Return the time that is in both. Pure."""
    found = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return [(start, end) for start, end in found if start < end]


def hours_of(spans: Sequence[Span]) -> float:
    """Return the hours in spans. Pure."""
    return sum((end - start for start, end in spans), timedelta()).total_seconds() / 3600


def shares(work: Sequence[tuple[int, datetime, datetime]]) -> dict[int, float]:
    """Return each job's share of the machine's hours: time that several jobs ran at once is divided. Pure.

    A job that was interrupted comes once for each time that it was at work.
    """
    found = dict.fromkeys((job for job, _, _ in work), 0.0)
    marks = [
        (moment, job, change) for job, *ends in work for moment, change in zip(ends, (1, -1), strict=True)
    ]
    running: dict[int, int] = {}
    last: datetime | None = None
    for moment, job, change in sorted(marks):
        if last is not None and running:
            part = (moment - last).total_seconds() / 3600 / len(running)
            for one in running:
                found[one] += part
        last = moment
        running[job] = running.get(job, 0) + change
        if not running[job]:
            del running[job]
    return found


async def price_of(worker: Worker) -> Price | None:
    """Return what the worker's machine costs; None when it costs nothing or the price is not known."""
    provider = cloud_or_none(worker)
    if provider is None:
        return None
    return await provider.price(spec_of_machine(worker, user_data=False))


async def _moves(worker: Worker) -> list[tuple[datetime, str]]:
    events = JobEvent.objects.filter(worker=worker, kind__in=["worker_state", DISK_GONE]).order_by("id")
    return [
        (datetime.fromisoformat(data["since"]) if "since" in data else at, str(data.get("state") or kind))
        async for at, kind, data in events.values_list("at", "kind", "data")
    ]


def total(
    price: Price, moves: Sequence[tuple[datetime, str]], since: datetime | None, now: datetime
) -> float:
    """Return what a machine and its disks have cost since a moment (None: since ever). Pure."""
    ran, disks = spans_of(moves, now), disk_spans_of(moves, now)
    if since is not None:
        ran, disks = common(ran, [(since, now)]), common(disks, [(since, now)])
    alone = hours_of(disks) - hours_of(common(ran, disks))
    return hours_of(ran) * price.running + alone * price.stopped


async def cost_of(worker: Worker, now: datetime | None = None) -> Cost | None:
    """Return what the worker has cost so far, as an estimate; None when that is not known."""
    price = await price_of(worker)
    if price is None:
        return None
    now = now or timezone.now()
    moves = await _moves(worker)
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Cost(
        price,
        hours_of(spans_of(moves, now)),
        total(price, moves, None, now),
        total(price, moves, month, now),
    )


async def cost_of_job(job: Job, now: datetime | None = None) -> JobCost | None:
    """Return what a job has cost, as an estimate: its share of its machine's hours while it was at work.

    None when its worker costs nothing, or the job has not been at work. The worker must be loaded.
    """
    if job.worker.config.get("simulated") or job.started_at is None:
        return None
    price = await price_of(job.worker)
    if price is None:
        return None
    now = now or timezone.now()
    meanwhile = Job.objects.filter(worker_id=job.worker_id, created_at__lte=job.finished_at or now).filter(
        Q(finished_at__isnull=True) | Q(finished_at__gte=job.created_at)
    )
    events = JobEvent.objects.filter(
        job__in=meanwhile, kind__in=["state", protocol.STARTED, protocol.FINISHED]
    )
    rows = [row async for row in events.order_by("job_id", "id").values_list("job_id", "at", "kind", "data")]
    ran = spans_of(await _moves(job.worker), now)
    work = [
        (number, *span)
        for number, of_one in groupby(rows, itemgetter(0))
        for span in common(
            work_spans_of(((at, kind, str(data.get("state"))) for _, at, kind, data in of_one), now), ran
        )
    ]
    return JobCost(price, shares(work).get(job.id, 0.0))
