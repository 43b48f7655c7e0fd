"""`offload fleet panic`: stop every machine of the user's at once. Deletes nothing."""

from __future__ import annotations

from jobs import operations
from jobs.cli.confirming import confirm
from jobs.cli.fleet.steps import account_of, print_steps
from jobs.cli.fleet.sweep import print_lines
from jobs.cli.output import print_json
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Stop every machine."""
    await confirm(request, operations.plan_stop_all())
    halted = await operations.stop_all_machines(print_steps(request), account_of(request))
    if request.json:
        left = [str(one) for one in halted.left]
        print_json("halted", {"stopped": halted.stopped, "left": left, "failed": halted.failed})
        return 1 if halted.failed else 0
    print_lines("stopped", halted.stopped)
    print_lines("still costs", halted.left)
    print_lines("failed", halted.failed)
    if not halted.stopped and not halted.failed:
        print("No machine was running.")
    return 1 if halted.failed else 0
