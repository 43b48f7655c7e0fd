"""`offload fleet preempt WORKER`: take a simulated machine away."""

from __future__ import annotations

from jobs import operations
from jobs.cli.fleet.steps import print_worker
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Take the machine away."""
    worker = await operations.preempt_machine(request.words[0])
    return print_worker(request, worker, f"{worker.name} was taken away without notice to Offload.")
