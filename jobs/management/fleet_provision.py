"""`manage.py fleet provision`: a machine that is made on request, or one that is gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from jobs.management import fleet_plan, simulation
from jobs.management.fleet_machines import (
    Steps,
    confirm,
    done,
    have_simulator,
    money_text,
    price_json,
    up_text,
)
from jobs.management.output import say
from jobs.models import Worker
from jobs.providers.base import Price
from jobs.providers.gce.preflight import preflight
from jobs.states import WorkerState
from jobs.workers import boot, provision
from jobs.workers.connection import provider_config
from jobs.workers.costs import price_of
from jobs.workers.machines import silent

KIND = "gce-cos"
# What a row says of which nothing is there yet, as far as anybody knows: it is looked at as a new one is.
_UNMADE = (WorkerState.ABSENT, WorkerState.CREATING)


async def provision_(options: Mapping[str, Any]) -> int:
    """Make a machine, or go on with one; does nothing when it is up."""
    step, name = Steps(options), options["name"]
    worker = await Worker.objects.filter(name=name).afirst()
    if worker is not None and not fleet_plan.is_new_plan(worker, options):
        return await _go_on(worker, options, step)
    if options["simulate"]:
        await asyncio.to_thread(simulation.start)
        options = {**options, "project": simulation.PROJECT}
        config = fleet_plan.config_of(options) | simulation.config(name)
        root = simulation.root(name)
    else:
        config, root = fleet_plan.config_of(options), boot.MOUNT
    if worker is not None and worker.config.get("disk_zone"):
        config["disk_zone"] = worker.config["disk_zone"]
    plan = Worker(name=name, provider=KIND, root=root, config=config)
    price = await _say_plan(plan, step)
    if not options["simulate"]:
        config = await _looked_at(plan, step)
        await confirm(options, f"Make {name}?")
    worker, changed = await provision.provision(name, KIND, root, config, step)
    return done(options, worker, up_text(worker, changed), changed=changed, price=price_json(price))


async def _go_on(worker: Worker, options: Mapping[str, Any], step: Steps) -> int:
    """Go on with what was agreed to before; what is not made yet is looked at again first."""
    await have_simulator(worker)
    more: dict[str, Any] = {}
    if worker.state in _UNMADE and worker.provider == KIND and not worker.config.get("simulated"):
        # Days may lie between: an API may be off by now, a quota spent, a name taken.
        more["price"] = price_json(await _say_plan(worker, step))
        await _looked_at(worker, step)
    worker, changed = await provision.provision(worker.name, worker.provider, worker.root, {}, step)
    return done(options, worker, up_text(worker, changed), changed=changed, **more)


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
    return price


async def _looked_at(plan: Worker, step: Steps) -> dict[str, Any]:
    """Return what of the plan can be made. A data disk that is there leaves one zone to look at."""
    config, disk_zone = provider_config(plan), plan.config.get("disk_zone")
    zones = [disk_zone] if disk_zone else config["zones"]
    found = await preflight(plan.name, {**config, "zones": zones}, silent if step.quiet else say)
    return plan.config if disk_zone else {**plan.config, "zones": found.zones}
