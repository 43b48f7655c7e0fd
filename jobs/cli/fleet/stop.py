"""`offload fleet stop WORKER`: stop a machine; its disks stay."""

from __future__ import annotations

from jobs import operations
from jobs.cli.fleet.steps import print_steps, print_worker
from jobs.cli.request import Request, actor


async def run(request: Request) -> int:
    """Stop the machine."""
    name = request.words[0]
    done = await operations.stop_machine(name, actor(), print_steps(request), force=request.force)
    text = f"{name} is stopped." if done.changed else f"{name} was not running; nothing was changed."
    return print_worker(request, done.worker, text, changed=done.changed)
