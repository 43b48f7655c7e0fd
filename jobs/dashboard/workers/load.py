"""How much of a worker or a pool is used, and what its jobs wait for, in words. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs import invocation
from jobs.dashboard.job.presenters import JobView
from jobs.formats import format_money
from jobs.models import Job, Pool, Worker
from jobs.operations import PoolOverview
from jobs.states import JobState
from jobs.workers.capacity import capacity_of, slots_of

_GIB = 1 << 30
_FULL = 0.9  # from this part on a figure is shown as a warning
MOST_WAITING = 20


@dataclass(frozen=True)
class Figure:
    """One measured figure: `used` of `whole`, as a text; `is_high`: little is left."""

    name: str
    text: str
    is_high: bool

    @classmethod
    def of_bytes(cls, name: str, whole: float | None, free: float | None) -> Figure | None:
        """Present bytes as what is free of how many GiB; None when it is not known."""
        if not whole or free is None:
            return None
        return cls(name, f"{free / _GIB:.1f} of {whole / _GIB:.1f} GiB free", free / whole < 1 - _FULL)


@dataclass(frozen=True)
class LoadView:
    """The slots of a worker, and what was measured of it `at` a moment."""

    used: int
    slots: int
    figures: Sequence[Figure]
    at: datetime | None

    @classmethod
    def of(cls, worker: Worker, jobs: Sequence[Job]) -> LoadView:
        """Present a worker; `jobs`: those that have not ended there."""
        used = sum(job.state != JobState.QUEUED for job in jobs)
        measured = capacity_of(worker)
        if measured is None:
            return cls(used, slots_of(worker), (), None)
        figures = [
            Figure.of_bytes("memory", measured.memory, measured.free),
            Figure.of_bytes("disk", measured.disk, measured.disk_free),
        ]
        if measured.load is not None:
            high = measured.load >= measured.cores * _FULL
            text = f"{measured.load:.1f} on {measured.cores:g} cores"
            figures.insert(0, Figure("load", text, high))
        return cls(used, slots_of(worker), [one for one in figures if one is not None], measured.at)

    @property
    def free(self) -> int:
        """Return how many slots are free; none when more jobs run than there are slots."""
        return max(0, self.slots - self.used)


@dataclass(frozen=True)
class PoolCard:
    """A pool as the workers' page shows it. `waiting`: its queued jobs, each with its reason."""

    overview: PoolOverview
    waiting: Sequence[JobView]

    @classmethod
    def of(cls, overview: PoolOverview) -> PoolCard:
        """Present a pool, with the first of its queued jobs."""
        queued = Job.objects.filter(pool=overview.pool, state=JobState.QUEUED, removed_at__isnull=True)
        loaded = queued.select_related("repository", "worker", "pool").defer("assessment", "findings")
        return cls(overview, [JobView(job) for job in loaded.order_by("id")[:MOST_WAITING]])

    @property
    def pool(self) -> Pool:
        """Return the pool."""
        return self.overview.pool

    @property
    def members(self) -> str:
        """Return how many workers it has, and how many it may have."""
        count, pool = len(self.overview.workers), self.pool
        words = f"{count} worker{'' if count == 1 else 's'}"
        if not pool.provider:
            return f"{words}; no machines are made"
        return f"{words}; {pool.minimum} to {pool.maximum}, made when jobs wait"

    @property
    def warm(self) -> str:
        """Return how many machines are kept up without a job; empty when none is."""
        return f"{self.pool.warm} kept up without a job" if self.pool.warm else ""

    @property
    def price(self) -> str:
        """Return what one of its machines costs, and the ceiling; empty when no price is known."""
        pool = self.pool
        if not pool.price:
            return ""
        ceiling = f"; all together at most {format_money(pool.ceiling, 'USD')}" if pool.ceiling else ""
        return f"{format_money(pool.price, 'USD')} an hour each{ceiling}"

    @property
    def more(self) -> int:
        """Return how many jobs wait that are not shown."""
        return max(0, self.overview.queued - len(self.waiting))

    @property
    def command(self) -> str:
        """Return the command that changes the pool."""
        change = f"--max {self.pool.maximum}" if self.pool.provider else "--add WORKER"
        return invocation.command(f"fleet pool {self.pool.name} {change}")
