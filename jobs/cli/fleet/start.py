"""`offload fleet start WORKER`: start a stopped machine."""

from __future__ import annotations

from jobs import operations
from jobs.cli.fleet.steps import describe_running, print_steps, print_worker
from jobs.cli.request import Request, actor


async def run(request: Request) -> int:
    """Start the machine."""
    done = await operations.start_machine(request.words[0], actor(), print_steps(request))
    return print_worker(
        request, done.worker, describe_running(done.worker, done.changed), changed=done.changed
    )
