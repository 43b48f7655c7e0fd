"""`offload fleet delete WORKER`: delete a machine; its data disk stays unless --with-disk is given."""

from __future__ import annotations

from jobs import operations
from jobs.cli.confirming import confirm
from jobs.cli.fleet.steps import print_steps, print_worker
from jobs.cli.output import say
from jobs.cli.request import Request, actor


async def run(request: Request) -> int:
    """Ask and delete."""
    name = request.words[0]
    plan = await operations.plan_deletion(name, with_disk=request.with_disk, force=request.force)
    if plan.confirmation is not None:
        await confirm(request, plan.confirmation)
    elif not request.json:
        say(f"{name} has no machine any more.")
    deleted = await operations.delete_machine(plan, actor(), print_steps(request))
    text = f"{name} is deleted."
    if deleted.ended_jobs:
        text += f" Jobs that waited for it do not run: {', '.join(deleted.ended_jobs)}."
    kept = [str(one) for one in deleted.kept]
    if kept:
        text += f" Kept, and still costing: {', '.join(kept)}; --with-disk deletes it too."
    return print_worker(request, deleted.worker, text, kept=kept, ended=list(deleted.ended_jobs))
