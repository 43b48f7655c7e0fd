"""`offload fleet rm WORKER`: remove a worker from the list."""

from __future__ import annotations

from jobs import operations
from jobs.cli.output import print_json
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Remove the worker."""
    name = request.words[0]
    await operations.remove_worker(name)
    if request.json:
        print_json("removed", {"name": name})
    else:
        print(f"{name} was removed from the list; its machine was not changed.")
    return 0
