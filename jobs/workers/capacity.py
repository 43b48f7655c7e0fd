"""How much work a worker takes: what was measured of it, and how many jobs may be at work there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from jobs.models import Worker
from jobs.remote.offload_runner.engine.capacity import measure
from jobs.workers.records import set_row

FRESH = timedelta(minutes=1)
UNKNOWN_SLOTS = 2  # of a worker that was not measured yet
_JOB_MEMORY = 1024**3  # bytes that one job is expected to need
_LEAST_MEMORY = _JOB_MEMORY // 2  # with less of it free no further job starts


@dataclass(frozen=True)
class Capacity:
    """What was measured of a worker; None where it does not tell.

    `load`: busy cores, averaged over a minute. `memory`, and what of it is `free`: bytes; likewise the `disk`
    of Offload's root and its `disk_free`.
    """

    cores: float
    load: float | None
    memory: float | None
    free: float | None
    at: datetime
    disk: float | None = None
    disk_free: float | None = None

    @property
    def slots(self) -> int:
        """Return how many jobs may be at work: two for each core, as far as the memory reaches."""
        by_memory = self.memory // _JOB_MEMORY if self.memory is not None else math.inf
        return max(1, int(min(2 * self.cores, by_memory)))

    @property
    def free_share(self) -> float:
        """Return which part of the machine is free, 0 to 1: of its cores or its memory, whichever is less."""
        shares = [1.0]
        if self.load is not None:
            shares.append(1 - self.load / self.cores)
        if self.free is not None and self.memory:
            shares.append(self.free / self.memory)
        return max(0.0, min(shares))

    @property
    def is_short_of_memory(self) -> bool:
        """Return whether a further job would find no memory, as far as is known."""
        recent = timezone.now() - self.at < FRESH
        return recent and self.free is not None and self.free < _LEAST_MEMORY


def read_capacity(measured: Any, at: datetime) -> Capacity | None:
    """Return what a worker said about itself; None when that is nothing usable. It is input: checked."""
    found: Mapping[str, Any] = measured if isinstance(measured, dict) else {}
    cores = _figure(found.get("cores"))
    if not cores or cores > 65536:
        return None
    load, memory, free = (_figure(found.get(name)) for name in ("load", "memory", "free"))
    return Capacity(
        cores, load, memory, free, at, _figure(found.get("disk")), _figure(found.get("disk_free"))
    )


def _figure(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e18 else None


def capacity_of(worker: Worker) -> Capacity | None:
    """Return what was measured last of a worker; this machine is measured now. None: never measured."""
    if worker.provider == "local":
        return read_capacity(measure(worker.root), timezone.now())
    fact = worker.facts.get("capacity") or {}
    try:
        at = datetime.fromisoformat(str(fact.get("at")))
    except ValueError:
        return None
    return read_capacity(fact, at)


async def note_capacity(worker_id: int, measured: Any) -> None:
    """Save what a worker says about itself; what is not usable is dropped."""
    found = read_capacity(measured, timezone.now())
    if found is not None:
        fact = {**asdict(found), "at": found.at.isoformat()}
        await set_row(await Worker.objects.aget(id=worker_id), capacity=fact)


def slots_of(worker: Worker) -> int:
    """Return how many jobs may be at work on a worker: the setting `max_jobs`, else as measured."""
    if settings.OFFLOAD.max_jobs:
        return int(settings.OFFLOAD.max_jobs)
    if worker.pool is not None and worker.pool.jobs_per_worker:
        return worker.pool.jobs_per_worker
    measured = capacity_of(worker)
    return measured.slots if measured is not None else UNKNOWN_SLOTS
