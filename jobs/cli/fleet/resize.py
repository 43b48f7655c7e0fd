"""`offload fleet resize WORKER TYPE`: stop a machine and start it with another machine type."""

from __future__ import annotations

from jobs import operations
from jobs.cli.confirming import confirm
from jobs.cli.fleet.steps import print_steps, print_worker
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Ask and resize."""
    name, size = request.words
    plan = await operations.plan_resize(name, size, force=request.force)
    if plan.confirmation is not None:
        await confirm(request, plan.confirmation)
    worker = await operations.resize_machine(plan, size, print_steps(request))
    return print_worker(request, worker, f"{name} is a {size} now.")
