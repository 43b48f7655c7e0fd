"""Stop, rebuild, resize and delete a worker's machine. Each can be repeated after a crash at any step."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.errors import NotFound, OffloadError
from jobs.models import Worker
from jobs.providers.base import CloudProvider, Instance, InstanceState, Resource
from jobs.states import WorkerDesired, WorkerState
from jobs.workers.machines import (
    GONE_DEADLINE,
    STOPPED_DEADLINE,
    Step,
    bring_row,
    cloud_of,
    require_size,
    set_row,
    silent,
    until_removed,
    until_state,
)
from jobs.workers.provision import bring_up

_ROW: dict[InstanceState, WorkerState] = {
    InstanceState.CREATING: WorkerState.BOOTING,
    InstanceState.STOPPING: WorkerState.STOPPING,
    InstanceState.STOPPED: WorkerState.STOPPED,
    InstanceState.DELETING: WorkerState.DELETING,
}


async def look_at_machine(worker: Worker) -> InstanceState | None:
    """Ask the provider for the machine, and have the row say what was seen; return its state.

    A machine that runs proves nothing about what runs on it: such a row stays as it is, unless it said
    that the machine was down. Raises what the provider raises.
    """
    provider = cloud_of(worker, "Looking at")
    instance = await provider.get(worker.name)
    await note_machine(worker, instance)
    return instance.state if instance is not None else None


async def note_machine(worker: Worker, instance: Instance | None) -> None:
    """Have the row say what was seen of the machine."""
    state = WorkerState(worker.state)
    if instance is None:
        if state not in (WorkerState.ABSENT, WorkerState.CREATING):
            await bring_row(worker.id, WorkerState.ABSENT, "Its machine is gone.")
        return
    if instance.state is InstanceState.RUNNING:
        if state in (WorkerState.STOPPED, WorkerState.STOPPING, WorkerState.ABSENT, WorkerState.CREATING):
            await bring_row(worker.id, WorkerState.BOOTING, "The machine runs.")
        return
    target = _ROW[instance.state]
    if target is state or (target is WorkerState.BOOTING and state is WorkerState.CREATING):
        return
    why = f" {instance.detail}" if instance.detail else ""
    text = f"The machine is {instance.state.value}.{why}"
    if target is WorkerState.STOPPED and state in (WorkerState.READY, WorkerState.UNREACHABLE):
        text = f"The machine was stopped from outside.{why}"
    await bring_row(worker.id, target, text)


async def stop(worker: Worker, step: Step = silent) -> bool:
    """Have the worker's machine stopped; return whether anything had to be done."""
    provider = cloud_of(worker, "Stopping")
    worker = await set_row(worker, WorkerDesired.DOWN)
    return await _stop(provider, worker, step)


async def _stop(provider: CloudProvider, worker: Worker, step: Step) -> bool:
    instance = await provider.get(worker.name)
    if instance is None or instance.state in (InstanceState.STOPPED, InstanceState.DELETING):
        await note_machine(worker, instance)
        return False
    step(f"Stopping {worker.name}")
    await bring_row(worker.id, WorkerState.STOPPING, "Stopped on request.")
    if instance.state is not InstanceState.STOPPING:
        try:
            await provider.stop(worker.name)
        except OffloadError:
            if (still := await provider.get(worker.name)) is not None:
                await note_machine(await Worker.objects.aget(id=worker.id), still)
            raise
    await until_state(
        provider,
        worker.name,
        (InstanceState.STOPPED, None),
        what=f"{worker.name} to stop",
        deadline=STOPPED_DEADLINE,
        step=step,
    )
    await bring_row(worker.id, WorkerState.STOPPED, "Stopped on request.")
    return True


async def start(worker: Worker, step: Step = silent) -> tuple[Worker, bool]:
    """Have the worker's machine running and answering; return the row and whether anything was done.

    Raises `NotFound` when there is no machine, and as `bring_up`.
    """
    cloud_of(worker, "Starting")
    worker = await set_row(worker, WorkerDesired.UP)
    return await bring_up(worker, step)


async def rebuild(worker: Worker, step: Step = silent) -> Worker:
    """Make the machine anew and keep its data disk; return the row.

    `config["rebuild"]` says how far it is: `deleting` until the old machine is gone, then `making`.
    """
    provider = cloud_of(worker, "Rebuilding")
    if worker.config.get("rebuild") != "making":
        worker = await set_row(worker, WorkerDesired.UP, rebuild="deleting")
        await _delete_machine(provider, worker, step)
        worker = await set_row(worker, rebuild="making")
    worker, _ = await bring_up(worker, step, make=True)
    return await set_row(worker, rebuild=None)


async def resize(worker: Worker, size: str, step: Step = silent) -> Worker:
    """Stop the machine, give it another size, and start it; return the row.

    Raises `UsageError` for a size that there is not: the machine then keeps the old one, and runs again.
    """
    provider = cloud_of(worker, "Resizing")
    require_size(size)
    if await provider.get(worker.name) is None:
        raise NotFound(
            f"There is no machine {worker.name}.", hint="Make it with `manage.py fleet provision`."
        )
    await _stop(provider, worker, step)
    worker = await Worker.objects.aget(id=worker.id)
    step(f"Giving {worker.name} the size {size}")
    try:
        await provider.resize(worker.name, size)
        key = "machine_type" if "machine_type" in (worker.config.get("spec") or {}) else "size"
        worker = await set_row(worker, spec={**(worker.config.get("spec") or {}), key: size})
    finally:
        if worker.desired == WorkerDesired.UP:
            worker, _ = await bring_up(await Worker.objects.aget(id=worker.id), step)
    return worker


async def belongings(worker: Worker) -> Sequence[Resource]:
    """Return everything in the account that was made for this worker."""
    provider = cloud_of(worker, "Deleting")
    return [resource for resource in await provider.resources() if resource.owner == worker.name]


async def delete(worker: Worker, step: Step = silent, *, with_disk: bool = False) -> Sequence[Resource]:
    """Delete the worker's machine and what was made for it alone; return what was left: the data disk.

    `with_disk` deletes that too. Whether work would be lost is the caller's question.
    """
    provider = cloud_of(worker, "Deleting")
    worker = await set_row(
        worker, WorkerDesired.GONE, delete="disk" if with_disk else "machine", rebuild=None
    )
    await _delete_machine(provider, worker, step)
    kept = []
    for resource in await provider.resources():
        if resource.owner != worker.name:
            continue
        if resource.kind == "disk" and not with_disk:
            kept.append(resource)
            continue
        step(f"Deleting the {resource}")
        await provider.remove(resource)
        await until_removed(provider, resource, step)
    if with_disk:
        await set_row(worker, delete=None, disk_zone=None, zone=None, spot=None, placement=None, tried=None)
    else:
        await set_row(worker, delete=None)
    return kept


async def _delete_machine(provider: CloudProvider, worker: Worker, step: Step) -> None:
    instance = await provider.get(worker.name)
    if instance is not None:
        await bring_row(worker.id, WorkerState.DELETING, "Deleted on request.")
        step(f"Deleting the machine {worker.name}")
        if instance.state is not InstanceState.DELETING:
            await provider.delete(worker.name)
        await until_state(
            provider, worker.name, (None,), what=f"{worker.name} to go", deadline=GONE_DEADLINE, step=step
        )
    await bring_row(worker.id, WorkerState.ABSENT, "Its machine was deleted.")
