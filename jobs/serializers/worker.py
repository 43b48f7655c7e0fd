"""THE JSON of a worker, for every interface: schema `offload/1`, every key present, null when unknown."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from jobs.models import Worker
from jobs.providers.base import Price
from jobs.serializers.times import utc
from jobs.workers import words_for_ssh
from jobs.workers.costs import Cost, JobCost
from jobs.workers.idle import Idle

HOURS_OF_MONTH = 730


class PriceJson(TypedDict):
    """An estimate of what a machine costs."""

    currency: str
    hour: float
    month: float
    stopped_month: float
    as_of: str
    source: str
    estimate: bool


class CostJson(TypedDict):
    """An estimate of what a machine has cost. `hours`: how long it ran."""

    currency: str
    hour: float
    this_month: float
    so_far: float
    hours: float
    as_of: str
    source: str
    estimate: bool


class JobCostJson(TypedDict):
    """An estimate of a job's share of the cost of its machine."""

    currency: str
    amount: float
    hours: float
    as_of: str
    source: str
    estimate: bool


class WorkerJson(TypedDict):
    """A worker. `jobs`: how many have files there; null where they were not counted."""

    name: str
    provider: str
    state: str
    desired: str
    state_detail: str | None
    observed_at: str | None
    root: str
    config: dict[str, Any]
    project: str | None
    zone: str | None
    disk_zone: str | None
    machine_type: str | None
    spot: bool | None
    placement: str | None
    ssh: str | None
    jobs: int | None
    stops_at: str | None
    stops_because: str | None
    kept_until: str | None
    cost: CostJson | None


def worker_json(
    worker: Worker, *, jobs: int | None = None, idle: Idle | None = None, cost: Cost | None = None
) -> WorkerJson:
    """Return a worker as data."""
    config = worker.config
    words = words_for_ssh(worker)
    return {
        "name": worker.name,
        "provider": worker.provider,
        "state": worker.state,
        "desired": worker.desired,
        "state_detail": worker.state_detail or None,
        "observed_at": utc(worker.observed_at),
        "root": worker.root,
        "config": config,
        "project": config.get("project"),
        "zone": worker.facts.get("zone", config.get("zone")),
        "disk_zone": worker.facts.get("disk_zone"),
        "machine_type": (config.get("spec") or {}).get("machine_type"),
        "spot": worker.facts.get("spot", config.get("spot")),
        "placement": worker.facts.get("placement"),
        "ssh": f"ssh {words}" if words else None,
        "jobs": jobs,
        "stops_at": utc(idle.ends_at) if idle is not None else None,
        "stops_because": idle.text if idle is not None else None,
        "kept_until": utc(idle.kept_until) if idle is not None else None,
        "cost": cost_json(cost),
    }


def price_json(price: Price | None) -> PriceJson | None:
    """Return a price as data."""
    if price is None:
        return None
    return {
        "currency": price.currency,
        "hour": price.running,
        "month": price.month,
        "stopped_month": price.stopped * HOURS_OF_MONTH,
        "as_of": price.as_of,
        "source": price.source,
        "estimate": True,
    }


def cost_json(cost: Cost | None) -> CostJson | None:
    """Return the cost of a worker as data."""
    if cost is None:
        return None
    return {
        "currency": cost.price.currency,
        "hour": round(cost.price.running, 4),
        "this_month": round(cost.month, 4),
        "so_far": round(cost.so_far, 4),
        "hours": round(cost.hours, 4),
        "as_of": cost.price.as_of,
        "source": cost.price.source,
        "estimate": True,
    }


def job_cost_json(cost: JobCost | None) -> JobCostJson | None:
    """Return the cost of a job as data."""
    if cost is None:
        return None
    return {
        "currency": cost.price.currency,
        "amount": round(cost.amount, 4),
        "hours": round(cost.hours, 4),
        "as_of": cost.price.as_of,
        "source": cost.price.source,
        "estimate": True,
    }
