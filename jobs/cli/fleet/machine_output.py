"""What the command line prints about a machine that costs money: when it stops and why, and what it costs."""

from __future__ import annotations

from jobs.cli.local_time import local_zone
from jobs.formats import format_duration, format_money
from jobs.invocation import command
from jobs.models import Job
from jobs.operations import WorkerOverview
from jobs.workers import idle
from jobs.workers.costs import JobCost


def describe_machine(overview: WorkerOverview) -> list[str]:
    """Return when it stops and why, and what it has cost; nothing for a machine that costs nothing."""
    if overview.problem:
        return [overview.problem]
    lines = [idle.in_zone(overview.idle.parts, local_zone())] if overview.idle is not None else []
    cost = overview.cost
    if overview.worker.config.get("simulated"):
        lines.append("Simulated on this machine; it costs nothing.")
    elif cost is not None:
        hour, month, so_far = (
            format_money(one, cost.price.currency) for one in (cost.price.running, cost.month, cost.so_far)
        )
        lines.append(
            f"About {hour} an hour while it runs; {month} this month, {so_far} so far in "
            f"{format_duration(cost.hours * 3600)} "
            f"(estimate, prices of {cost.price.as_of}: {cost.price.source})."
        )
    return lines


def describe_job(job: Job, cost: JobCost | None) -> list[str]:
    """Return what a job has cost, and when its machine stops under it, for those that do."""
    lines = []
    if cost is not None:
        amount = format_money(cost.amount, cost.price.currency)
        lines.append(
            f"Cost about {amount}: its share of {job.worker} is {format_duration(cost.hours * 3600)} "
            f"(estimate, prices of {cost.price.as_of})."
        )
    said = idle.idle_of(job.worker)
    if said is not None and said.ends_at is not None and job.removed_at is None:
        lines.append(f"{job.worker}: {idle.in_zone(said.parts, local_zone())}")
        if said.stops_at is not None:
            lines.append(f"Keep it running: {command(f'fleet keep {job.worker} --hours 4')}")
    return lines
