"""`manage.py fleet provision`: a machine that is made on request, or one that is gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.cli.fleet import plan, simulated_container, simulation
from jobs.cli.fleet.interrupt import told
from jobs.cli.fleet.machines import (
    Steps,
    confirm,
    done,
    have_simulator,
    money_text,
    price_json,
    up_text,
)
from jobs.cli.output import say
from jobs.errors import Refused
from jobs.models import Worker
from jobs.providers.base import Price
from jobs.providers.gce.compute.adoption import Adopted
from jobs.providers.gce.onboarding.preflight import preflight
from jobs.states import WorkerState
from jobs.workers import cloud_init, provision
from jobs.workers.connection import provider_config
from jobs.workers.costs import price_of
from jobs.workers.machines import set_row, silent

KIND = "gce-cos"
# What a row says of which nothing is there yet, as far as anybody knows: it is looked at as a new one is.
_UNMADE = (WorkerState.ABSENT, WorkerState.CREATING)


async def provision_(options: Mapping[str, Any]) -> int:
    """Make a machine, or go on with one; does nothing when it is up."""
    step, name = Steps(options), options["name"]
    worker = await Worker.objects.filter(name=name).afirst()
    if worker is not None and not plan.is_new_plan(worker, options):
        return await _go_on(worker, options, step)
    if options["simulate"]:
        config = await _simulated_config(name, options)
        await asyncio.to_thread(simulation.start)
        root = simulation.root(name)
    else:
        config, root = plan.config_of(options), cloud_init.MOUNT
    if worker is not None:
        config |= {
            key: worker.config[key] for key in ("disk_zone", "adopts", "tried") if worker.config.get(key)
        }
    planned = Worker(name=name, provider=KIND, root=root, config=config)
    price = await _say_plan(planned, step)
    adopted: list[Adopted] = []
    if not options["simulate"]:
        first = config["zones"][0]
        planned.config, adopted = await _looked_at(planned, options, step)
        if planned.config["zones"][0] != first:
            price = await _say_plan(planned, step)  # another place, and perhaps another price
        await confirm(options, _question("Make", planned, adopted))
    worker, changed = await _made(planned, planned.config, step)
    more = {"price": price_json(price), "adopted": [one.as_json() for one in adopted]}
    return done(options, worker, up_text(worker, changed), changed=changed, **more)


async def _simulated_config(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    config = plan.config_of({**options, "project": simulation.PROJECT}) | simulation.config(name)
    if options["image"]:
        config["container"], metadata = await simulated_container.planned(name, options["image"])
        config["spec"]["metadata"] = metadata
    return config


async def _go_on(worker: Worker, options: Mapping[str, Any], step: Steps) -> int:
    """Go on with what was agreed to before; what is not made yet is looked at again first."""
    await have_simulator(worker)
    more: dict[str, Any] = {}
    if worker.state in _UNMADE and worker.provider == KIND and not worker.config.get("simulated"):
        # Days may lie between: an API may be off by now, a quota spent, a name taken.
        more["price"] = price_json(await _say_plan(worker, step))
        config, adopted = await _looked_at(worker, options, step)
        more["adopted"] = [one.as_json() for one in adopted]
        if adopted:
            await confirm(options, _question("Go on with", worker, adopted))
            await set_row(worker, adopts=config["adopts"])
    worker, changed = await _made(worker, {}, step)
    return done(options, worker, up_text(worker, changed), changed=changed, **more)


async def _made(plan: Worker, config: Mapping[str, Any], step: Steps) -> tuple[Worker, bool]:
    name = plan.name
    back = f"what was asked for may come up and cost: `manage.py fleet delete {name}` takes it back"
    async with told(f"making {name}", name, f"provision {name}", back):
        return await provision.provision(name, plan.provider, plan.root, config, step)


async def _say_plan(plan: Worker, step: Steps) -> Price | None:
    """Say what is going to be made, and what it costs."""
    price, config = await price_of(plan), plan.config
    if not step.quiet:
        spec = config["spec"]
        kind = f"{spec['machine_type']}{', spot' if spec['spot'] else ''}"
        where = f"{config.get('disk_zone') or ' or '.join(config['zones'])} of {config['project']}"
        say(f"{plan.name}: {kind}, data disk of {spec['data_disk_gb']} GB, in {where}.")
        say(f"It costs {money_text(price)}." if price else "What it costs is not known.")
        if config.get("simulated"):
            say("This one costs nothing: it is simulated on this machine.")
            if box := config.get("container"):
                say(f"Jobs run in the container {box['name']} of this machine, made from {box['image']}.")
    return price


async def _looked_at(
    plan: Worker, options: Mapping[str, Any], step: Steps
) -> tuple[dict[str, Any], list[Adopted]]:
    """Return the plan's configuration as far as it can be made, and what is taken over with it.

    A data disk that is there leaves one zone to look at. Warnings are said with --json, too. Raises `Refused`
    for a machine that is up for another home, unless that is insisted on.
    """
    config, disk_zone = provider_config(plan), plan.config.get("disk_zone")
    zones = [disk_zone] if disk_zone else config["zones"]
    found = await preflight(plan.name, {**config, "zones": zones}, silent if step.quiet else say)
    changes: dict[str, Any] = {} if disk_zone else {"zones": found.zones}
    for one in found.adopted:
        if one.in_use and not options["take_over"]:
            raise Refused(
                f"{one.origin}, and it is up: jobs may be at work there.",
                hint="Choose another name; or, if that home is gone or you mean it, insist with --take-over.",
            )
        say(f"Warning: {one.origin}; it is taken over, with all that is on it.")
    for one in found.outside:
        say(
            f"Warning: {one.origin}, in none of the zones asked for. It stays as it is, and {plan.name} gets "
            f"an empty one; with `--zones {one.zone}` it is taken over."
        )
    if found.adopted:
        homes = {*plan.config.get("adopts", ()), *(one.home for one in found.adopted)}
        changes["adopts"] = sorted(homes)
    return {**plan.config, **changes}, found.adopted


def _question(verb: str, plan: Worker, adopted: Sequence[Adopted]) -> str:
    taken = f", and take over the {' and the '.join(map(str, adopted))}" if adopted else ""
    return f"{verb} {plan.name}{taken}?"
