"""What `fleet ls` and the dashboard add for a machine that costs money."""

from __future__ import annotations

from jobs.errors import OffloadError
from jobs.models import Worker
from jobs.workers import idle
from jobs.workers.costs import cost_of


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
            f"Ran {cost.hours:.1f} h, about {cost.so_far:.2f} {cost.price.currency} (estimate); "
            f"{cost.price.running:.2f} an hour."
        )
    return lines
