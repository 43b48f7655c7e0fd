"""Making a worker's machine and bringing it up: every step can be repeated, so a crash costs a repetition.

What is wanted is saved first (the row with the machine's name); then one looks what is there, and goes on
from that. There is never a second machine, because the name is the machine's identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.db import IntegrityError

from jobs.errors import NoCapacity, NotFound, OffloadError, QuotaExceeded, Refused
from jobs.models import Worker
from jobs.providers.base import CloudProvider, Instance, InstanceState
from jobs.states import WorkerDesired, WorkerState
from jobs.transitions import process_name, set_desired
from jobs.workers.machines import (
    GONE_DEADLINE,
    ON_REQUEST,
    RUNNING_DEADLINE,
    STOPPED_DEADLINE,
    Step,
    bring_row,
    cloud_of,
    silent,
    spec_of_machine,
    until_state,
)
from jobs.workers.ownership import is_anothers, machine_of, require_own
from jobs.workers.readiness import until_ready, what_is_missing
from jobs.workers.records import Facts, create_worker, replace_settings, set_row
from jobs.workers.waiting import Seen, wait_until

GROUND_DEADLINE = 300.0


def _save_intent(
    name: str, provider: str, root: str, config: Mapping[str, Any], facts: Mapping[str, Any]
) -> Worker:
    try:
        create_worker(name, provider, root, config, facts)
    except IntegrityError:
        row = Worker.objects.get(name=name)
        if row.provider != provider:
            raise Refused(
                f"There is a worker called {name} already, of kind {row.provider}.",
                hint="Choose another name.",
            ) from None
        if row.state == WorkerState.ABSENT and config:
            # No machine was made of the earlier request, or only its data disk is left.
            kept = {key: row.facts[key] for key in ("zone", "disk_zone", "tried") if key in row.facts}
            replace_settings(row.id, root, config, {**facts, **kept})
    set_desired(Worker.objects.get(name=name).id, WorkerDesired.UP)
    return Worker.objects.get(name=name)


save_intent = sync_to_async(_save_intent)


async def provision(
    name: str,
    provider: str,
    root: str,
    config: Mapping[str, Any],
    step: Step = silent,
    facts: Mapping[str, Any] | None = None,
) -> tuple[Worker, bool]:
    """Have a worker of this name, up and answering; return its row and whether anything had to be done.

    `config`: the provider's configuration, with `spec` (what `create` takes), `zones` (where to try, in
    this order) and `boot_file` (where the machine says how far its boot is). `facts`: what is known of its
    disk and of what it takes over. A worker that is there keeps
    what it has. Raises `NoCapacity` when no zone has room, `TimedOut` naming the step, or what the
    provider said; the same call goes on from there.
    """
    step(f"Recording the request for {name}")
    worker = await save_intent(name, provider, root, config, facts or {})
    return await bring_up(worker, step, make=True)


async def bring_up(worker: Worker, step: Step = silent, *, make: bool = False) -> tuple[Worker, bool]:
    """Have the worker's machine running and answering; `make` it when there is none.

    Returns the row and whether anything had to be done. Raises as `provision`, and `NotFound` when there
    is no machine and none may be made.
    """
    provider = cloud_of(worker, "Starting")
    if make and not worker.facts.get("disk_zone"):
        # A row that is new to what another home or a lost database knew would look in its first zone only.
        worker = await _find_disk(provider, worker)
        provider = cloud_of(worker, "Starting")
    instance = await _settled(provider, worker, step)
    if instance is not None and instance.state is InstanceState.RUNNING and worker.state == WorkerState.READY:
        if await what_is_missing(worker) is None:
            return await Worker.objects.aget(id=worker.id), False
        await bring_row(worker.id, WorkerState.UNREACHABLE, "It runs and does not answer.")
    before = await provider.report(worker.name) if instance is not None else {}
    if instance is None:
        if not make:
            await bring_row(worker.id, WorkerState.ABSENT, "Its provider knows no such machine.")
            raise NotFound(
                f"There is no machine {worker.name}.",
                hint=f"Make it with `manage.py fleet provision {worker.name}`.",
            )
        worker = await _make(provider, worker, step)
        provider = cloud_of(worker, "Starting")
    elif instance.state is InstanceState.STOPPED:
        await _require_wanted(worker)
        step(f"Starting {worker.name}")
        await provider.start(worker.name)
        await _require_wanted(worker, provider)
    try:
        await _until_running(provider, worker, step)
    except NoCapacity as error:
        # Accepted for an earlier command that died; the other zones are still to be tried.
        if not make or await provider.get(worker.name) is not None:
            raise
        step(error.message)
        worker = await _find_disk(provider, await Worker.objects.aget(id=worker.id))
        worker = await _make(provider, worker, step)
        provider = cloud_of(worker, "Starting")
    worker = await _note_zone(provider, worker)
    if worker.config.get("machine_only"):
        why = "The machine runs, says its provider. It is a machine only: it was not asked over ssh."
        changed = instance is None or worker.state != WorkerState.BOOTING
        step(why)
        await bring_row(worker.id, WorkerState.BOOTING, why)
        return await Worker.objects.aget(id=worker.id), changed
    if worker.state not in (WorkerState.BOOTING, WorkerState.UNREACHABLE):
        await bring_row(worker.id, WorkerState.BOOTING, "The machine runs and boots.")
    await until_ready(provider, worker, dict(before), step)
    await bring_row(worker.id, WorkerState.READY, "Answered after its boot.")
    return await Worker.objects.aget(id=worker.id), True


async def _require_wanted(worker: Worker, started: CloudProvider | None = None) -> None:
    """Raise `Refused` when the machine is to be down by now; one that was `started` is stopped again.

    Checked before and after the machine is made: a stop that comes in between may find nothing to stop.
    """
    row = await Worker.objects.aget(id=worker.id)
    if row.desired == WorkerDesired.UP:
        return
    if started is not None:
        await bring_row(worker.id, WorkerState.STOPPING, ON_REQUEST)
        await started.stop(worker.name)
    raise Refused(
        f"{worker.name} is not started: it was asked to be {row.desired} meanwhile.",
        hint=f"`manage.py fleet start {worker.name}` starts it all the same.",
    )


async def _settled(provider: CloudProvider, worker: Worker, step: Step) -> Instance | None:
    """Return the machine once it is not on its way down. Raises `Refused` when it is another home's."""
    instance = await provider.get(worker.name)
    try:
        require_own(worker, instance)
    except Refused as error:
        await bring_row(worker.id, WorkerState.ABSENT, error.message)
        raise
    if instance is not None and instance.state is InstanceState.STOPPING:
        step(f"Waiting until {worker.name} has stopped, to start it again")
        wanted = (InstanceState.STOPPED, InstanceState.RUNNING, None)
        return await until_state(
            provider, worker.name, wanted, what=f"{worker.name} to stop", deadline=STOPPED_DEADLINE, step=step
        )
    if instance is not None and instance.state is InstanceState.DELETING:
        step(f"Waiting until the old {worker.name} is gone")
        return await until_state(
            provider, worker.name, (None,), what=f"{worker.name} to go", deadline=GONE_DEADLINE, step=step
        )
    return instance


def _places(worker: Worker) -> list[tuple[str, bool]]:
    """Return where the machine may be made, in order: each zone with spot first when that is wanted.

    A data disk cannot leave its zone: once there is one, only that zone is left.
    """
    spec = worker.config.get("spec") or {}
    zones = [str(zone) for zone in worker.config.get("zones") or [spec.get("zone") or ""]]
    if worker.facts.get("disk_zone"):
        zones = [str(worker.facts["disk_zone"])]
    kinds = [True, False] if spec.get("spot") else [False]
    return [(zone, spot) for spot in kinds for zone in zones]


async def _make(provider: CloudProvider, worker: Worker, step: Step) -> Worker:
    """Ask for the machine, place by place, until one has room; return the row with the place."""
    said: list[str] = []
    refusals: list[NoCapacity] = []
    for zone, spot in _places(worker):
        placement = "; ".join(said) or None
        changes: Facts = {"spot": spot, "placement": placement, "maker": process_name()}
        if zone:
            changes["zone"] = zone
        if zone and not worker.facts.get("disk_zone"):
            changes["tried"] = sorted({*worker.facts.get("tried", ()), zone})
        worker = await set_row(worker, **changes)
        provider = cloud_of(worker, "Making")  # of this zone
        await bring_row(worker.id, WorkerState.CREATING, f"Asked for {_place(zone, spot)}.")
        try:
            await _until_grounded(provider, zone, step)
            await _require_wanted(worker)
            step(f"Making {worker.name} {_place(zone, spot)}")
            await provider.create(spec_of_machine(worker), worker.name)
            await _require_wanted(worker, provider)
            await _until_running(provider, worker, step)
        except NoCapacity as error:
            said.append(f"{_place(zone, spot)}: {error.message}")
            refusals.append(error)
            step(error.message)
            continue
        except OffloadError as error:
            if await machine_of(worker, provider) is None and not error.retryable:
                await bring_row(worker.id, WorkerState.ABSENT, error.message)
            raise
        return await Worker.objects.aget(id=worker.id)
    await _remove_disks(provider, worker, keep=worker.facts.get("disk_zone"))
    text = f"There is no room for {worker.name}: {' '.join(said)}"
    await bring_row(worker.id, WorkerState.ABSENT, text)
    await set_row(worker, zone=None, spot=None, tried=None)
    quota = [error for error in refusals if isinstance(error, QuotaExceeded)]
    if len(quota) == len(refusals) > 0:
        raise QuotaExceeded(text, hint=quota[0].hint)
    hint = "Try other zones (--zones), another machine type, or later."
    raise NoCapacity(text, hint=" ".join([hint, *(error.hint for error in quota[:1])]))


async def _until_grounded(provider: CloudProvider, zone: str, step: Step) -> None:
    """Have what machines in the zone stand on: the network."""

    async def look() -> Seen[bool]:
        missing = await provider.create_shared(zone)
        return Seen(True) if missing is None else Seen(None, missing)

    await wait_until("the network", look, deadline=GROUND_DEADLINE, step=step)


async def _find_disk(provider: CloudProvider, worker: Worker) -> Worker:
    """Learn where the worker's data disk is: its machine is there, or is made there.

    A disk in a zone that was tried, where no machine ever ran, is blank: another try may go elsewhere.
    """
    if worker.facts.get("disk_zone"):
        return worker
    for resource in await provider.resources():
        known = resource.kind == "disk" and resource.owner == worker.name and resource.place
        if is_anothers(worker, resource.home):
            continue
        if known and resource.place not in worker.facts.get("tried", ()):
            return await set_row(worker, disk_zone=resource.place)
    return worker


async def _note_zone(provider: CloudProvider, worker: Worker) -> Worker:
    """Save where the machine that runs now has its data disk; remove the blank ones of other tries."""
    zone = worker.facts.get("zone") or worker.config.get("zone")
    if worker.facts.get("disk_zone") or not zone:
        return worker
    await _remove_disks(provider, worker, keep=zone)
    return await set_row(worker, disk_zone=zone, tried=None)


async def _remove_disks(provider: CloudProvider, worker: Worker, keep: str | None) -> None:
    tried = set(worker.facts.get("tried", ())) - {keep}
    if not tried:
        return
    for resource in await provider.resources():
        ours = resource.owner == worker.name and not is_anothers(worker, resource.home)
        if resource.kind == "disk" and ours and resource.place in tried:
            await provider.remove(resource)


def _place(zone: str, spot: bool) -> str:
    return f"in {zone or 'its place'}, {'spot' if spot else 'on demand'}"


async def _until_running(provider: CloudProvider, worker: Worker, step: Step) -> None:
    instance = await until_state(
        provider,
        worker.name,
        (InstanceState.RUNNING,),
        what=f"{worker.name} to run",
        deadline=float(worker.config.get("running_deadline") or RUNNING_DEADLINE),
        step=step,
    )
    require_own(worker, instance)  # another home's may have come first
