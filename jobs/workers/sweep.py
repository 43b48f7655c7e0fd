"""What no row knows and what rows wrongly believe; and the brake for everything at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.errors import OffloadError
from jobs.models import Worker
from jobs.providers.base import CloudProvider, InstanceState, Resource
from jobs.states import WorkerDesired, WorkerState
from jobs.workers.fleet import note_machine
from jobs.workers.machines import STOPPED_DEADLINE, Step, cloud_or_none, silent, until_removed, until_state

# What makes two workers live in the same account: the same words here, the same resources there.
_ACCOUNT = ("project", "cloud", "endpoint")


@dataclass
class Swept:
    """What a sweep found. `gone`: workers without their machine; `failed`: what could not be looked at."""

    orphans: list[Resource] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


async def _accounts(extra: Sequence[Worker]) -> list[tuple[CloudProvider, Worker]]:
    """Return one provider for each account that a row (or `extra`) knows."""
    found: dict[str, tuple[CloudProvider, Worker]] = {}
    rows = [worker async for worker in Worker.objects.all()]
    for worker in [*rows, *extra]:
        key = json.dumps([worker.provider, *(worker.config.get(name) for name in _ACCOUNT)])
        if key in found:
            continue
        provider = cloud_or_none(worker)
        if provider is not None:
            found[key] = (provider, worker)
    return list(found.values())


def _goes(worker: Worker) -> bool:
    """Tell whether a deletion that was asked for, and perhaps never ended, takes the disk too."""
    return bool(worker.config.get("delete") == "disk")


def _is_wanted(resource: Resource, worker: Worker | None) -> bool:
    """Tell whether a row stands for this resource."""
    if worker is None:
        return not resource.owner  # made for all machines: the network
    if worker.desired != WorkerDesired.GONE:
        return True
    # Deleted on request: only the data disk may be left, when it was not to go.
    return resource.kind == "disk" and bool(worker.config.get("disk_zone")) and not _goes(worker)


async def sweep(step: Step = silent, *, remove: bool = False, extra: Sequence[Worker] = ()) -> Swept:
    """Find resources with our labels that no row stands for, and rows whose machine is gone.

    Rows are mended at once; orphans are only removed with `remove`. `extra`: workers that are no rows, for
    accounts that no row names.
    """
    swept = Swept()
    for provider, example in await _accounts(extra):
        step(f"Looking through {example.config.get('project') or provider.kind}")
        try:
            resources = await provider.resources()
        except OffloadError as error:
            swept.failed.append(error.message)
            continue
        # Rows are read after the resources: what was made meanwhile has a row, because that comes first.
        rows = {worker.name: worker async for worker in Worker.objects.filter(provider=provider.kind)}
        orphans = [one for one in resources if not _is_wanted(one, rows.get(one.owner))]
        # Machines first: a disk in use cannot go.
        for resource in sorted(orphans, key=lambda one: (one.kind != "instance", one.kind, one.name)):
            swept.orphans.append(resource)
            if remove:
                step(f"Removing the {resource}")
                await _remove(provider, resource, step, swept)
    await _mend_rows(swept)
    return swept


async def _remove(provider: CloudProvider, resource: Resource, step: Step, swept: Swept) -> None:
    try:
        await provider.remove(resource)
        await until_removed(provider, resource, step)
    except OffloadError as error:
        swept.failed.append(f"Removing the {resource} failed: {error.message}")


async def _mend_rows(swept: Swept) -> None:
    async for worker in Worker.objects.exclude(state=WorkerState.ABSENT):
        provider = cloud_or_none(worker)
        if provider is None:
            continue
        try:
            instance = await provider.get(worker.name)
        except OffloadError as error:
            swept.failed.append(error.message)
            continue
        if instance is None and worker.state != WorkerState.CREATING:
            swept.gone.append(worker.name)
        await note_machine(worker, instance)


@dataclass
class Halted:
    """What a panic stopped, what still costs (disks, addresses), and what could not be stopped."""

    stopped: list[str] = field(default_factory=list)
    left: list[Resource] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


async def panic(step: Step = silent, *, extra: Sequence[Worker] = ()) -> Halted:
    """Stop every machine of ours in every account, known to a row or not; nothing is deleted.

    All stops are asked for before one is waited for, and one that fails keeps no other from being stopped.
    """
    halted = Halted()
    for provider, _ in await _accounts(extra):
        await Worker.objects.filter(provider=provider.kind).aupdate(desired=WorkerDesired.DOWN.value)
        try:
            instances = await provider.list()
        except OffloadError as error:
            halted.failed.append(error.message)
            continue
        asked = []
        for instance in instances:
            if instance.state in (InstanceState.STOPPED, InstanceState.DELETING):
                continue
            step(f"Stopping {instance.name}")
            try:
                await provider.stop(instance.name)
                asked.append(instance.name)
            except OffloadError as error:
                halted.failed.append(f"Stopping {instance.name} failed: {error.message}")
        for name in asked:
            try:
                await until_state(
                    provider,
                    name,
                    (InstanceState.STOPPED, None),
                    what=f"{name} to stop",
                    deadline=STOPPED_DEADLINE,
                    step=step,
                )
                halted.stopped.append(name)
            except OffloadError as error:
                halted.failed.append(error.message)
            row = await Worker.objects.filter(name=name, provider=provider.kind).afirst()
            if row is not None:
                await note_machine(row, await provider.get(name))
        try:
            found = await provider.resources()
            halted.left += [one for one in found if one.billed and one.kind != "instance"]
        except OffloadError as error:
            halted.failed.append(error.message)
    return halted
