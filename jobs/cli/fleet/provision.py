"""`offload fleet provision WORKER`: create a machine, or continue an unfinished creation."""

from __future__ import annotations

from dataclasses import fields

from jobs import operations
from jobs.cli.confirming import confirm
from jobs.cli.fleet.steps import describe_running, print_steps, print_worker
from jobs.cli.output import say
from jobs.cli.request import Request
from jobs.operations import ProvisionRequest
from jobs.serializers import price_json


async def run(request: Request) -> int:
    """Print the plan with its price, ask, and create the machine."""
    steps = print_steps(request)
    say_unless_json = operations.silent if request.json else say
    plan = await operations.plan_provision(_read(request), say_unless_json)
    for line in plan.effects:
        say_unless_json(line)
    for warning in plan.warnings:
        say(warning)
    if plan.confirmation is not None:
        await confirm(request, plan.confirmation)
    done = await operations.provision_worker(plan, steps)
    more = {}
    if plan.is_new or plan.is_checked:
        more = {"price": price_json(plan.price), "adopted": [one.as_json() for one in plan.adopted]}
    text = describe_running(done.worker, done.changed)
    return print_worker(request, done.worker, text, changed=done.changed, **more)


def _read(request: Request) -> ProvisionRequest:
    given = {field.name: getattr(request.options, field.name, None) for field in fields(ProvisionRequest)}
    given["zones"] = tuple(zone.strip() for zone in (request.zones or "").split(",") if zone.strip())
    given["name"] = request.words[0]
    return ProvisionRequest(**{key: value for key, value in given.items() if value is not None})
