"""What the command line says of a machine that costs money: when it stops and why, and what it costs."""

from __future__ import annotations

from typing import Any

from jobs.errors import OffloadError
from jobs.invocation import command
from jobs.models import Job, Worker
from jobs.providers.base import Price
from jobs.workers import idle
from jobs.workers.costs import JobCost, cost_of, cost_of_job


async def describe_machine(worker: Worker) -> list[str]:
    """Return when it stops and why, and what it has cost; nothing for a machine that costs nothing."""
    try:
        worker = await idle.read_idle(worker)
        said = idle.idle_of(worker)
        cost = await cost_of(worker)
    except OffloadError as error:
        return [error.message]
    lines = [said.text] if said is not None else []
    if cost is not None and worker.config.get("simulated"):
        lines.append("Simulated on this machine; it costs nothing.")
    elif cost is not None:
        lines.append(
            f"About {cost.price.running:.2f} {cost.price.currency} an hour while it runs; "
            f"{cost.month:.2f} this month, {cost.so_far:.2f} so far in {cost.hours:.1f} h "
            f"(estimate, prices of {cost.price.as_of}: {cost.price.source})."
        )
    return lines


async def job_cost(job: Job) -> JobCost | None:
    """Return what a job has cost; None when that is nothing, or not known."""
    try:
        return await cost_of_job(job)
    except OffloadError:
        return None


async def machine_json(worker: Worker) -> dict[str, Any]:
    """Return the same as `fleet ls --json` shows it: `stops_at`, `stops_because`, `kept_until`, `cost`."""
    try:
        worker = await idle.read_idle(worker)
        said = idle.idle_of(worker)
        cost = None if worker.config.get("simulated") else await cost_of(worker)
    except OffloadError:
        said, cost = None, None
    ends, kept = (said.ends_at, said.kept_until) if said is not None else (None, None)
    return {
        "stops_at": ends.isoformat() if ends is not None else None,
        "stops_because": said.text if said is not None else None,
        "kept_until": kept.isoformat() if kept is not None else None,
        "cost": None if cost is None else {
            "hour": round(cost.price.running, 4), "this_month": round(cost.month, 4),
            "so_far": round(cost.so_far, 4), "hours": round(cost.hours, 4), **_source(cost.price),
        },
    }  # fmt: skip


def _source(price: Price) -> dict[str, Any]:
    """Return what marks an amount as an estimate."""
    return {"currency": price.currency, "as_of": price.as_of, "source": price.source, "estimate": True}


def cost_json(cost: JobCost | None) -> dict[str, Any] | None:
    """Return a job's cost as `--json` shows it."""
    if cost is None:
        return None
    return {"amount": round(cost.amount, 4), "hours": round(cost.hours, 4), **_source(cost.price)}


def describe_job(job: Job, cost: JobCost | None) -> list[str]:
    """Return what a job has cost, and when its machine stops under it, for those that do."""
    lines = []
    if cost is not None:
        amount = f"about {cost.amount:.2f}" if cost.amount >= 0.005 else "less than 0.01"
        lines.append(
            f"Cost {amount} {cost.price.currency}: its share of {job.worker} is {cost.hours:.2f} h "
            f"(estimate, prices of {cost.price.as_of})."
        )
    said = idle.idle_of(job.worker)
    if said is not None and said.ends_at is not None and job.removed_at is None:
        lines.append(f"{job.worker}: {said.text}")
        if said.stops_at is not None:
            lines.append(f"Keep it running: {command(f'fleet keep {job.worker} --hours 4')}")
    return lines
