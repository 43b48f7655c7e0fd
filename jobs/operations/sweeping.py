"""Every machine of the user's, with a worker or without: find resources without a worker, stop everything."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass

from jobs import execution
from jobs.errors import OffloadError
from jobs.models import Worker
from jobs.operations import simulation
from jobs.operations.confirmation import ConfirmationPlan
from jobs.operations.progress import Progress
from jobs.providers.registry import CLOUDS
from jobs.workers import cloud_init, sweep
from jobs.workers.sweep import Halted, Swept

CLOUD_KIND = "gce-cos"
ON_REQUEST = "Every machine was stopped on request."


@dataclass(frozen=True)
class Account:
    """An account to include although no worker names it. `owner`: the label of the machines to find."""

    project: str
    zones: tuple[str, ...]
    owner: str


@dataclass(frozen=True)
class SweepRequest:
    """What to look for. `remove`: remove what belongs to no worker; the other two widen what that is."""

    remove: bool = False
    other_homes: bool = False
    with_disks: bool = False
    account: Account | None = None


async def sweep_resources(request: SweepRequest, progress: Progress) -> Swept:
    """Find resources with our labels that belong to no worker, and workers whose machine no longer exists."""
    failed = await _start_simulator()
    found = await sweep.sweep(
        progress,
        remove=request.remove,
        other_homes=request.other_homes,
        with_disks=request.with_disks,
        extra=_extra_workers(request.account),
    )
    found.failed += failed
    await asyncio.to_thread(simulation.stop_if_unused)
    return found


def plan_stop_all() -> ConfirmationPlan:
    """Return the question before every machine is stopped."""
    return ConfirmationPlan(
        "Stop every machine of yours, whatever runs on it?",
        effects=("Running jobs are interrupted. Nothing is deleted.",),
    )


async def stop_all_machines(progress: Progress, account: Account | None = None) -> Halted:
    """Stop every machine of the user's, with a worker or without. Nothing is deleted."""
    ours = Worker.objects.filter(provider__in=CLOUDS)
    async for worker in ours:
        await execution.interrupt_for_stop(worker.id, ON_REQUEST)
    failed = await _start_simulator()
    halted = await sweep.panic(progress, extra=_extra_workers(account))
    halted.failed += failed
    async for worker in ours.all():
        await execution.finish_stop(worker.id, ON_REQUEST)
    return halted


async def _start_simulator() -> list[str]:
    """Start the simulator when a worker needs it; return why it does not start. Real machines come first."""
    # Deleted workers too, because resources may be left of them.
    if await Worker.objects.filter(config__simulated=True).aexists():
        try:
            await asyncio.to_thread(simulation.start)
        except (OffloadError, OSError, subprocess.SubprocessError) as error:
            return [f"The simulated machines could not be checked: {error}"]
    return []


def _extra_workers(account: Account | None) -> list[Worker]:
    """Return a placeholder worker for an account that no worker names."""
    if account is None:
        return []
    config = {"project": account.project, "zones": list(account.zones), "owner": account.owner}
    return [Worker(name="sweep", provider=CLOUD_KIND, root=cloud_init.MOUNT, config=config)]
