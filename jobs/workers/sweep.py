"""Find what no row refers to and rows that are wrong; and stop everything at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings

from jobs.errors import OffloadError
from jobs.models import Worker
from jobs.providers.base import CloudProvider, Instance, InstanceState, Resource
from jobs.states import RequestKind, WorkerDesired, WorkerState
from jobs.transitions import aset_desired
from jobs.workers.fleet import note_machine
from jobs.workers.home import home_id
from jobs.workers.machines import (
    ON_REQUEST,
    STOPPED_DEADLINE,
    Step,
    bring_row,
    cloud_or_none,
    silent,
    until_removed,
)
from jobs.workers.ownership import is_anothers_machine, machine_of
from jobs.workers.requests import open_requests
from jobs.workers.waiting import Seen, wait_until

# What makes two workers live in the same account: the same words here, the same resources there.
_ACCOUNT = ("project", "cloud", "endpoint")


@dataclass
class Swept:
    """What a sweep found. `gone`: workers without their machine; `failed`: what could not be looked at.

    No row stands for `orphans`, which `remove` removes; for `disks`, which are somebody's data; and for
    `elsewhere`, of other homes of this owner. The latter two stay unless a word says otherwise.
    """

    orphans: list[Resource] = field(default_factory=list)
    disks: list[Resource] = field(default_factory=list)
    elsewhere: list[Resource] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Account:
    """An account as one owner sees it. `place`: what is the same for all workers there."""

    name: str
    provider: CloudProvider
    place: str


def _place_of(worker: Worker) -> str:
    return json.dumps([worker.provider, *(worker.config.get(name) for name in _ACCOUNT)])


async def _accounts(extra: Sequence[Worker], failed: list[str]) -> list[_Account]:
    """Return each account and owner that a row (or `extra`) knows. A provider gets all zones of its rows.

    What cannot be read of a row's configuration goes to `failed`, and keeps no other from being found.
    """
    rows = [worker async for worker in Worker.objects.all()]
    together: dict[tuple[str, str], list[Worker]] = {}
    for worker in [*rows, *extra]:
        together.setdefault((_place_of(worker), str(worker.config.get("owner") or "")), []).append(worker)
    found = []
    for (place, _), workers in together.items():
        example = workers[0]
        zones = list(dict.fromkeys(zone for worker in workers for zone in _zones(worker)))
        seen = Worker(
            name=example.name,
            provider=example.provider,
            root=example.root,
            config={**example.config, **({"zones": zones} if zones else {})},
            facts=example.facts,
        )
        try:
            provider = cloud_or_none(seen)
        except OffloadError as error:
            failed.append(f"{example.name}: {error.message}")
            continue
        if provider is not None:
            name = str(example.config.get("project") or provider.kind)
            found.append(_Account(name, provider, place))
    return found


def _zones(worker: Worker) -> list[str]:
    config, facts = worker.config, worker.facts
    named = (facts.get("disk_zone"), facts.get("zone"), config.get("zone"), *(config.get("zones") or ()))
    return [str(zone) for zone in named if zone]


def _is_elsewhere(resource: Resource) -> bool:
    """Tell whether another home made it, or it does not say which one did: no row here stands for it then."""
    return resource.home is not None and resource.home != home_id(settings.OFFLOAD.home)


def _is_wanted(resource: Resource, worker: Worker | None, disk_goes: bool) -> bool:
    """Return whether a row stands for this resource; `disk_goes`: its deletion was to take the disk too."""
    if worker is None:
        return False
    if worker.desired != WorkerDesired.GONE:
        return True
    # Deleted on request: only the data disk may be left, when it was not to go.
    return resource.kind == "disk" and bool(worker.facts.get("disk_zone")) and not disk_goes


async def _orphans(account: _Account) -> tuple[list[Resource], frozenset[str]]:
    """Return what no row stands for, in an order in which it can go, and whose disk was asked to go.

    Raises what the provider raises.
    """
    resources = await account.provider.resources()
    shared = await account.provider.shared()
    # Rows are read after the resources: what was made meanwhile has a row, because that comes first.
    rows = [row async for row in Worker.objects.filter(provider=account.provider.kind)]
    names = {row.name: row for row in rows if _place_of(row) == account.place}
    deletions = open_requests([RequestKind.DELETE]).filter(parameters__with_disk=True)
    deleted = frozenset([name async for name in deletions.values_list("worker__name", flat=True)])
    orphans = [one for one in resources if not _is_wanted(one, names.get(one.owner), one.owner in deleted)]
    standing: set[str] = set()
    for worker in names.values():
        provider = cloud_or_none(worker) if worker.desired != WorkerDesired.GONE else None
        standing |= provider.shared_groups() if provider is not None else set()
    # Machines first: a disk in use cannot go.
    orphans.sort(key=lambda one: (one.kind != "instance", one.kind, one.name))
    asked = frozenset(
        name for name, row in names.items() if row.desired == WorkerDesired.GONE and name in deleted
    )
    return orphans + [one for one in shared if not one.in_use and one.group not in standing], asked


async def sweep(
    step: Step = silent,
    *,
    remove: bool = False,
    other_homes: bool = False,
    with_disks: bool = False,
    extra: Sequence[Worker] = (),
) -> Swept:
    """Find resources with our labels that no row stands for, and rows whose machine is gone.

    Rows are corrected at once; orphans are only removed with `remove`. Among them is what other homes made
    only with `other_homes`, and a data disk only `with_disks`, or when a row asked for its deletion. `extra`:
    workers that are no rows, for accounts that no row names.
    """
    swept = Swept()
    for account in await _accounts(extra, swept.failed):
        step(f"Looking through {account.name}")
        try:
            orphans, asked = await _orphans(account)
        except OffloadError as error:
            swept.failed.append(error.message)
            continue
        for resource in orphans:
            if _is_elsewhere(resource) and not other_homes:
                swept.elsewhere.append(resource)
                continue
            if resource.kind == "disk" and not with_disks and resource.owner not in asked:
                swept.disks.append(resource)
                continue
            swept.orphans.append(resource)
            if remove:
                step(f"Removing the {resource}")
                await _remove(account.provider, resource, step, swept)
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
        try:
            provider = cloud_or_none(worker)
            if provider is None:
                continue
            instance = await machine_of(worker, provider)
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
    accounts = await _accounts(extra, halted.failed)
    asked: list[tuple[_Account, str]] = []
    for account in accounts:
        # A deletion that was begun stays one: else a sweep would take what is left of it for wanted.
        rows = Worker.objects.filter(provider=account.provider.kind).exclude(desired=WorkerDesired.GONE)
        async for row in rows:
            await aset_desired(row.id, WorkerDesired.DOWN)
        asked += [(account, name) for name in await _ask_all_to_stop(account, step, halted)]
    for account, name in asked:
        try:
            await _until_down(account, name, step)
            halted.stopped.append(name)
        except OffloadError as error:
            halted.failed.append(error.message)
    for account in accounts:
        try:
            found = [*await account.provider.resources(), *await account.provider.shared()]
            halted.left += [one for one in found if one.billed and one.kind != "instance"]
        except OffloadError as error:
            halted.failed.append(error.message)
    return halted


async def _row_of(account: _Account, name: str, instance: Instance | None) -> Worker | None:
    """Return the row that a machine (None: gone) stands for; None for a machine of another home."""
    row = await Worker.objects.filter(name=name, provider=account.provider.kind).afirst()
    if row is None or _place_of(row) != account.place:
        return None
    return None if instance is not None and is_anothers_machine(row, instance) else row


async def _ask_all_to_stop(account: _Account, step: Step, halted: Halted) -> list[str]:
    """Ask every machine of an account to stop; return the names of those that were asked."""
    try:
        instances = await account.provider.list()
    except OffloadError as error:
        halted.failed.append(error.message)
        return []
    asked = []
    for instance in instances:
        row = await _row_of(account, instance.name, instance)
        if instance.state in (InstanceState.STOPPED, InstanceState.DELETING):
            if row is not None:  # of an earlier panic that died, perhaps
                await note_machine(row, instance)
            continue
        step(f"Stopping {instance.name}")
        if row is not None:
            # Said first: a user who sees it go down knows why.
            await bring_row(row.id, WorkerState.STOPPING, ON_REQUEST)
        try:
            await account.provider.stop(instance.name)
            asked.append(instance.name)
        except OffloadError as error:
            halted.failed.append(f"Stopping {instance.name} failed: {error.message}")
            if row is not None:
                await note_machine(await Worker.objects.aget(id=row.id), instance)
    return asked


async def _until_down(account: _Account, name: str, step: Step) -> None:
    """Wait until a machine that was asked to stop is down, and have its row say so."""

    async def look() -> Seen[tuple[Instance | None]]:
        # Not `get`, which knows one zone: a machine elsewhere would seem to be gone.
        found = next((one for one in await account.provider.list() if one.name == name), None)
        if found is None or found.state is InstanceState.STOPPED:
            return Seen((found,))
        return Seen(None, f"{name} is {found.state.value}")

    (instance,) = await wait_until(f"{name} to stop", look, deadline=STOPPED_DEADLINE, step=step)
    if (row := await _row_of(account, name, instance)) is not None:
        await note_machine(row, instance)
