"""What the command line says of a machine that costs money: when it stops and why, and what it costs."""

from __future__ import annotations

from typing import Any

from jobs.errors import OffloadError
from jobs.models import Job, Worker
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


def cost_json(cost: JobCost | None) -> dict[str, Any] | None:
    """Return a job's cost as `--json` shows it."""
    if cost is None:
        return None
    price = cost.price
    return {
        "amount": round(cost.amount, 4), "currency": price.currency, "hours": round(cost.hours, 4),
        "as_of": price.as_of, "source": price.source, "estimate": True,
    }  # fmt: skip


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
            lines.append(f"Keep it up: manage.py fleet keep {job.worker} --hours 4")
    return lines
