"""`manage.py fleet sweep` and `fleet panic`: verbs about every machine of ours, known to a row or not."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from jobs import execution
from jobs.cli.fleet import plan, simulation
from jobs.cli.fleet.machines import Steps, confirm
from jobs.cli.fleet.provision import KIND
from jobs.cli.output import print_json, say
from jobs.errors import OffloadError
from jobs.models import Worker
from jobs.providers.base import Resource
from jobs.providers.registry import CLOUDS
from jobs.workers import cloud_init, sweep


async def _simulators() -> list[str]:
    """Have the simulator running when a worker needs it; return why it does not: real machines go first."""
    # Deleted ones too: what is left of them is looked for.
    if await Worker.objects.filter(config__simulated=True).aexists():
        try:
            await asyncio.to_thread(simulation.start)
        except (OffloadError, OSError, subprocess.SubprocessError) as error:
            return [f"Simulated machines could not be looked at: {error}"]
    return []


def _extra(options: Mapping[str, Any]) -> Sequence[Worker]:
    """Return an account that no row names, when the options do."""
    if not options["project"]:
        return []
    zones = (options["zones"] or plan.ZONES).split(",")
    config = {"project": options["project"], "zones": zones, "owner": plan.owner_of(options)}
    return [Worker(name="sweep", provider=KIND, root=cloud_init.MOUNT, config=config)]


def _lines(title: str, what: Sequence[Resource | str]) -> None:
    for one in what:
        print(f"{title}: {one}")


def _disk_line(one: Resource) -> str:
    price = f", about {one.month:.2f} USD a month" if one.month is not None else ""
    return f"{one} ({one.detail}{price})" if one.detail else str(one)


async def sweep_(options: Mapping[str, Any]) -> int:
    """Find what no row knows, and rows without their machine; --yes removes the orphans."""
    failed = await _simulators()
    found = await sweep.sweep(
        Steps(options),
        remove=options["yes"],
        other_homes=options["other_homes"],
        with_disks=options["with_disks"],
        extra=_extra(options),
    )
    found.failed += failed
    await asyncio.to_thread(simulation.stop_if_unused)
    if options["json"]:
        told = {"orphans": found.orphans, "disks": found.disks, "other_homes": found.elsewhere}
        lists = {key: [str(one) for one in ones] for key, ones in told.items()}
        print_json("swept", {**lists, "gone": found.gone, "failed": found.failed, "removed": options["yes"]})
    else:
        _lines("removed" if options["yes"] else "orphan", found.orphans)
        _lines("data disk of no worker", [_disk_line(one) for one in found.disks])
        _lines("of another home", [_disk_line(one) for one in found.elsewhere])
        _lines("machine is gone", found.gone)
        _lines("failed", found.failed)
        if found.disks:
            say("Data disks stay: `fleet provision NAME` takes one up again; --with-disks removes them.")
        if found.elsewhere:
            say("Another Offload home made these, or they do not say which: they stay.")
            say("`fleet provision NAME` takes a machine or disk over; --other-homes removes them.")
        if found.orphans and not options["yes"]:
            say("Nothing was removed; --yes removes the orphans.")
        if not (found.orphans or found.disks or found.elsewhere or found.gone or found.failed):
            print("Nothing to sweep.")
    return 1 if found.failed else 0


async def panic(options: Mapping[str, Any]) -> int:
    """Stop every machine of ours, known or not. Nothing is deleted."""
    await confirm(options, "Stop every machine of yours, whatever runs on it?")
    detail = "Every machine was stopped on request."
    ours = Worker.objects.filter(provider__in=CLOUDS)
    async for worker in ours:
        await execution.brake(worker.id, detail)
    failed = await _simulators()
    halted = await sweep.panic(Steps(options), extra=_extra(options))
    halted.failed += failed
    async for worker in ours.all():
        await execution.settle(worker.id, detail)
    if options["json"]:
        print_json("halted", {"stopped": halted.stopped, "left": [str(one) for one in halted.left],
                              "failed": halted.failed})  # fmt: skip
    else:
        _lines("stopped", halted.stopped)
        _lines("still costs", halted.left)
        _lines("failed", halted.failed)
        if not halted.stopped and not halted.failed:
            print("No machine was running.")
    return 1 if halted.failed else 0
