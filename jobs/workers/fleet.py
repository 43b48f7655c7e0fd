"""Stop, rebuild, resize and delete a worker's machine. Each can be repeated after a crash at any step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from jobs.errors import NotFound, OffloadError
from jobs.models import Worker
from jobs.providers.base import CloudProvider, Instance, InstanceState, Resource
from jobs.states import RequestKind, WorkerDesired, WorkerState
from jobs.transitions import is_gone
from jobs.workers.costs import DISK_GONE
from jobs.workers.idle import in_zone, moment_of, with_moments
from jobs.workers.machines import (
    GONE_DEADLINE,
    ON_REQUEST,
    STOPPED_DEADLINE,
    Step,
    bring_row,
    cloud_of,
    require_size,
    silent,
    until_removed,
    until_state,
)
from jobs.workers.ownership import is_anothers, machine_of
from jobs.workers.provision import bring_up
from jobs.workers.records import Facts, Note, achange_settings, set_row
from jobs.workers.requests import abegin_operation, afinish_request, ais_open, amark_running

# How far the machine's clock and its provider's may be apart.
_CLOCKS = timedelta(minutes=2)
# Until then another process may be about to ask for the machine.
CREATION_LIMIT = timedelta(minutes=10)
# The last request of a process that died is seen at its provider by then.
ORPHANED_LIMIT = timedelta(seconds=20)
MAKING = "making"  # the step of a rebuild after the old machine is gone
_UP = (WorkerState.READY, WorkerState.UNREACHABLE)
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
    # Read before one asks: what the row says by then is not older than the answer.
    worker = await Worker.objects.filter(id=worker.id).afirst() or worker
    provider = cloud_of(worker, "Looking at")
    instance = await machine_of(worker, provider)
    await note_machine(worker, instance)
    return instance.state if instance is not None else None


async def note_machine(worker: Worker, instance: Instance | None) -> None:
    """Have the row say what was seen of the machine, since when, and why it is down.

    `facts["down"]`: the provider's word for that (`preempted`, `deadline`, ...); `facts["deadline"]`: when
    the provider will stop it, whatever happens. `worker` is the row as it was before the provider was asked;
    nothing is said when it has changed since: what was seen is older than that.
    """
    seen, state = worker, WorkerState(worker.state)
    if instance is None:
        maker = str(worker.facts.get("maker") or "")
        limit = ORPHANED_LIMIT if maker and is_gone(maker) else CREATION_LIMIT
        if state is WorkerState.CREATING and timezone.now() - worker.state_since < limit:
            return
        if state is not WorkerState.ABSENT:
            text = "Its machine is gone." if state is not WorkerState.CREATING else "Its machine never came."
            await bring_row(worker.id, WorkerState.ABSENT, text, seen=seen)
        return
    down = instance.state in (InstanceState.STOPPING, InstanceState.STOPPED)
    facts: Facts = {
        "down": str(instance.data.get("because") or "") or None if down else None,
        "deadline": None if down else str(instance.data.get("deadline") or "") or None,
    }
    if any(worker.facts.get(key) != value for key, value in facts.items()):
        worker = await set_row(worker, seen=seen, **facts)
    if instance.state is InstanceState.RUNNING:
        if state in (WorkerState.STOPPED, WorkerState.STOPPING, WorkerState.ABSENT, WorkerState.CREATING):
            since = _last(instance, "last_start")
            await bring_row(worker.id, WorkerState.BOOTING, "The machine runs.", since, seen=seen)
        return
    target = _ROW[instance.state]
    if target is state or (target is WorkerState.BOOTING and state is WorkerState.CREATING):
        # Nothing is new but the age of the observation.
        await Worker.objects.filter(id=worker.id, state=state.value).aupdate(observed_at=timezone.now())
        return
    text = f"The machine is {instance.state.value}. {instance.detail}".rstrip()
    since = _last(instance, "last_stop") if target is WorkerState.STOPPED else None
    if state is WorkerState.STOPPING and worker.state_detail == ON_REQUEST:
        text = ON_REQUEST
    elif target is WorkerState.STOPPED and state in (*_UP, WorkerState.STOPPING):
        text = _why_stopped(worker, instance, since)
    elif target is WorkerState.STOPPING and state in _UP and facts["down"] is not None:
        text = _why_stopped(worker, instance, None)
    await bring_row(worker.id, target, text, since, seen=seen)


def _last(instance: Instance, key: str) -> datetime | None:
    """Return when a machine was started or stopped last, unless the other came after it."""
    moments = {name: moment_of(instance.data.get(name)) for name in ("last_start", "last_stop")}
    found, other = moments.pop(key), next(iter(moments.values()))
    return found if found is not None and (other is None or found >= other) else None


def _why_stopped(worker: Worker, instance: Instance, since: datetime | None) -> str:
    """Return why a machine is down although no request here stopped it."""
    because = instance.data.get("because")
    if because == "preempted":
        return f"Preempted: {instance.detail}"
    if because == "deadline":
        return "Stopped at its deadline: its longest run time was used up."
    said = worker.facts.get("idle") or {}
    when = moment_of(said.get("stops_at"))
    if because == "guest" and when is not None and (since or timezone.now()) >= when - _CLOCKS:
        return in_zone(["It turned itself off because ", *with_moments(str(said.get("because"))), "."])
    return f"The machine was stopped from outside. {instance.detail}".rstrip()


async def stop(worker: Worker, step: Step = silent) -> bool:
    """Have the worker's machine stopped; return whether anything had to be done."""
    provider = cloud_of(worker, "Stopping")
    worker = await set_row(worker, WorkerDesired.DOWN, down=None)
    return await _stop(provider, worker, step)


async def _stop(provider: CloudProvider, worker: Worker, step: Step) -> bool:
    instance = await machine_of(worker, provider)
    if instance is None or instance.state in (InstanceState.STOPPED, InstanceState.DELETING):
        await note_machine(worker, instance)
        return False
    step(f"Stopping {worker.name}")
    await bring_row(worker.id, WorkerState.STOPPING, ON_REQUEST)
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
    await bring_row(worker.id, WorkerState.STOPPED, ON_REQUEST)
    return True


async def start(worker: Worker, step: Step = silent, *, request_id: int | None = None) -> tuple[Worker, bool]:
    """Have the worker's machine running and answering; return the row and whether anything was done.

    Nothing is done when the request `request_id` was replaced. Raises `NotFound` when there is no machine,
    and as `bring_up`.
    """
    cloud_of(worker, "Starting")
    worker = await set_row(worker, WorkerDesired.UP, request_id=request_id)
    if request_id is not None and not await ais_open(request_id):
        return worker, False
    return await bring_up(worker, step)


async def rebuild(worker: Worker, step: Step = silent) -> Worker:
    """Delete the machine and make it again on its data disk; return the row.

    Its request says how far it is, so that the same call continues after a crash.
    """
    provider = cloud_of(worker, "Rebuilding")
    worker = await set_row(worker, WorkerDesired.UP)
    request = await abegin_operation(worker.id, RequestKind.REBUILD)
    if request.step != MAKING:
        await _delete_machine(provider, worker, step)
        await amark_running(request.id, MAKING)
        worker = await Worker.objects.aget(id=worker.id)
    worker, _ = await bring_up(worker, step, make=True)
    await afinish_request(request.id)
    return worker


async def resize(worker: Worker, size: str, step: Step = silent) -> Worker:
    """Stop the machine, give it another size, and start it; return the row.

    Raises `UsageError` for a size that there is not: the machine then keeps the old one, and runs again.
    """
    provider = cloud_of(worker, "Resizing")
    require_size(size)
    if await machine_of(worker, provider) is None:
        raise NotFound(
            f"There is no machine {worker.name}.", hint="Make it with `manage.py fleet provision`."
        )
    await _stop(provider, worker, step)
    worker = await Worker.objects.aget(id=worker.id)
    step(f"Giving {worker.name} the size {size}")
    try:
        await provider.resize(worker.name, size)
    except OffloadError as refused:
        try:
            await _up_again(worker, step)
        except OffloadError as error:
            refused.hint = (
                f"{refused.hint} It was not started again either: {error.message} {error.hint}".strip()
            )
        raise
    key = "machine_type" if "machine_type" in (worker.config.get("spec") or {}) else "size"
    spec = {**(worker.config.get("spec") or {}), key: size}
    return await _up_again(await achange_settings(worker.id, spec=spec), step)


async def _up_again(worker: Worker, step: Step) -> Worker:
    worker = await Worker.objects.aget(id=worker.id)
    return (await bring_up(worker, step))[0] if worker.desired == WorkerDesired.UP else worker


async def belongings(worker: Worker) -> Sequence[Resource]:
    """Return everything in the account that was made for this worker."""
    return await _belongings(cloud_of(worker, "Deleting"), worker)


async def _belongings(provider: CloudProvider, worker: Worker) -> Sequence[Resource]:
    found = [one for one in await provider.resources() if one.owner == worker.name]
    return [one for one in found if not is_anothers(worker, one.home)]


async def delete(worker: Worker, step: Step = silent, *, with_disk: bool = False) -> Sequence[Resource]:
    """Delete the worker's machine and what was made for it alone; return what was left: the data disk.

    `with_disk` deletes that too. Whether work would be lost is the caller's question.
    """
    provider = cloud_of(worker, "Deleting")
    # At once: a sweep must know what was to go, wherever this ends.
    request = await abegin_operation(
        worker.id, RequestKind.DELETE, parameters={"with_disk": with_disk}, desired=WorkerDesired.GONE
    )
    worker = await Worker.objects.aget(id=worker.id)
    await _delete_machine(provider, worker, step)
    kept = []
    for resource in await _belongings(provider, worker):
        if resource.kind == "disk" and not with_disk:
            kept.append(resource)
            continue
        step(f"Deleting the {resource}")
        await provider.remove(resource)
        await until_removed(provider, resource, step)
    if with_disk:
        await set_row(
            worker, note=Note(DISK_GONE), disk_zone=None, zone=None, spot=None, placement=None, tried=None,
            adopts=None,
        )  # fmt: skip
    await afinish_request(request.id)
    return kept


async def _delete_machine(provider: CloudProvider, worker: Worker, step: Step) -> None:
    instance = await machine_of(worker, provider)
    if instance is not None:
        await bring_row(worker.id, WorkerState.DELETING, "Deleted on request.")
        step(f"Deleting the machine {worker.name}")
        if instance.state is not InstanceState.DELETING:
            await provider.delete(worker.name)
        await until_state(
            provider, worker.name, (None,), what=f"{worker.name} to go", deadline=GONE_DEADLINE, step=step
        )
    await bring_row(worker.id, WorkerState.ABSENT, "Its machine was deleted.")
