"""`offload fleet keep WORKER`: keep a machine running although it is idle."""

from __future__ import annotations

from jobs import operations
from jobs.cli.fleet.steps import print_worker
from jobs.cli.local_time import local_zone
from jobs.cli.request import Request, actor
from jobs.formats import format_clock
from jobs.serializers import utc
from jobs.workers import idle


async def run(request: Request) -> int:
    """Keep the machine, or end the keeping with --hours 0."""
    name = request.words[0]
    worker, until = await operations.keep_machine(name, request.hours, actor())
    zone = local_zone()
    kept = until is not None and request.hours
    text = f"{name} stays up until {format_clock(until, zone)}." if kept else f"{name} is not kept up."
    if said := idle.idle_of(worker):
        text += f" {idle.in_zone(said.parts, zone)}"
    return print_worker(request, worker, text, until=utc(until))
