"""Print a confirmation plan and ask it."""

from __future__ import annotations

import sys

from jobs.cli.output import say
from jobs.cli.request import Request, ask
from jobs.errors import Refused
from jobs.operations import ConfirmationPlan


async def confirm(request: Request, plan: ConfirmationPlan) -> None:
    """Return when the plan is accepted. Raises `Refused` when it is not, or when no terminal is available."""
    if not request.json:
        for line in (*plan.effects, *filter(None, [plan.cost])):
            say(line)
        if plan.losses:
            say(f"This deletes: {', '.join(plan.losses)}.")
    if request.yes:
        return
    if request.no_input or request.json or not sys.stdin.isatty():
        raise Refused("Confirmation required and no terminal available.", hint="Pass --yes.")
    if (await ask(f"{plan.question} [y/N] ")).lower() not in ("y", "yes"):
        raise Refused("Nothing was changed.")
