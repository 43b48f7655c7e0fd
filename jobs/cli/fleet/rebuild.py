"""`offload fleet rebuild WORKER`: delete a machine and create it again on its data disk."""

from __future__ import annotations

from jobs import operations
from jobs.cli.confirming import confirm
from jobs.cli.fleet.steps import print_steps, print_worker
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Ask and rebuild."""
    plan = await operations.plan_rebuild(request.words[0], force=request.force)
    if plan.confirmation is not None:
        await confirm(request, plan.confirmation)
    worker = await operations.rebuild_machine(plan, print_steps(request))
    return print_worker(request, worker, f"{worker.name} was rebuilt; its data is unchanged.")
