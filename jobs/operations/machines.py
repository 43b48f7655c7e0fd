"""Change the machine of a worker: start, stop, keep, rebuild, resize, delete.

A change that interrupts jobs or loses data has a `plan_...` function that returns the question. Each can be
repeated after a crash, and continues from where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from jobs import execution
from jobs.errors import OffloadError, Refused
from jobs.models import Worker
from jobs.operations import simulation
from jobs.operations.confirmation import ConfirmationPlan
from jobs.operations.interruption import explain_interruption
from jobs.operations.progress import Progress
from jobs.operations.provisioning import Provisioned
from jobs.operations.workers import get_worker
from jobs.providers.base import Ability, Resource
from jobs.states import RequestKind
from jobs.workers import fleet, idle
from jobs.workers.machines import cloud_of, require_size
from jobs.workers.requests import arecord_command, open_requests

STOPPED = "Its machine was stopped on request."
DELETED = "The machine it waited for was deleted on request."


async def get_machine(name: str, doing: str) -> Worker:
    """Return a worker whose machine Offload creates. `doing`: the verb of the error, as in "Stopping".

    Raises `NotFound`, or `Refused` for an existing machine that was added.
    """
    worker = await get_worker(name)
    await simulation.start_for(worker)
    cloud_of(worker, doing)
    return worker


async def start_machine(name: str, actor: str, progress: Progress) -> Provisioned:
    """Start a stopped machine and wait until it answers."""
    worker = await get_machine(name, "Starting")
    await arecord_command(worker.id, RequestKind.START, actor)
    undo = f"`offload fleet stop {name}` stops it"
    async with explain_interruption(f"starting {name}", name, f"start {name}", undo):
        return Provisioned(*await fleet.start(worker, progress))


async def stop_machine(name: str, actor: str, progress: Progress, *, force: bool = False) -> Provisioned:
    """Stop a machine; its disks stay. Raises `Refused` while jobs run there, unless with `force`."""
    worker = await get_machine(name, "Stopping")
    if not force:
        await execution.require_idle(worker)
    await arecord_command(worker.id, RequestKind.STOP, actor)
    async with explain_interruption(f"stopping {name}", name, f"stop {name}"):
        changed = await execution.stop_machine(worker, STOPPED, progress)
    return Provisioned(await Worker.objects.aget(id=worker.id), changed)


async def keep_machine(name: str, hours: float, actor: str) -> tuple[Worker, datetime]:
    """Keep a machine running for `hours` from now (0: no longer); return the worker and until when."""
    worker = await get_machine(name, "Keeping")
    until = idle.until_of(hours)
    return await idle.keep(worker, until, actor), until


@dataclass(frozen=True)
class ChangePlan:
    """A change for which the machine is down. `confirmation`: None when it was given before a crash."""

    worker: Worker
    confirmation: ConfirmationPlan | None


async def plan_rebuild(name: str, *, force: bool = False) -> ChangePlan:
    """Return what rebuilding means. Raises `Refused` while jobs run there, unless with `force`."""
    question = f"Delete the machine {name} and create it again (its data disk is kept)?"
    return await _plan_change(name, "Rebuilding", question, force)


async def plan_resize(name: str, size: str, *, force: bool = False) -> ChangePlan:
    """Return what resizing means. Raises `UsageError` for an impossible size, else as `plan_rebuild`."""
    require_size(size)
    cloud_of(await get_machine(name, "Resizing"), "Resizing").require(Ability.RESIZE)
    return await _plan_change(name, "Resizing", f"Stop {name} and make it a {size}?", force)


async def rebuild_machine(plan: ChangePlan, progress: Progress) -> Worker:
    """Delete the machine and create it again on its data disk."""
    name = plan.worker.name
    return await _change(
        plan.worker, "Its machine is rebuilt.", lambda row: fleet.rebuild(row, progress), f"rebuild {name}"
    )


async def resize_machine(plan: ChangePlan, size: str, progress: Progress) -> Worker:
    """Stop the machine, give it another type, and start it."""
    return await _change(
        plan.worker,
        "Its machine gets another size.",
        lambda row: fleet.resize(row, size, progress),
        f"resize {plan.worker.name} {size}",
    )


async def _plan_change(name: str, doing: str, question: str, force: bool) -> ChangePlan:
    worker = await get_machine(name, doing)
    running = await open_requests([RequestKind.REBUILD]).filter(worker=worker).afirst()
    if running is not None and running.actor:
        raise Refused(
            f"{name} is being rebuilt on request of {running.actor}.",
            hint="`offload serve` carries it out; `offload fleet ls` shows how far it is.",
        )
    if running is not None:
        # Confirmed by the command that was interrupted.
        return ChangePlan(worker, None)
    if not force:
        await execution.require_idle(worker)
    elif busy := await execution.busy_jobs(worker):
        question = f"{question} This interrupts {', '.join(busy)}."
    return ChangePlan(worker, ConfirmationPlan(question))


async def _change(
    worker: Worker, detail: str, change: Callable[[Worker], Awaitable[Worker]], again: str
) -> Worker:
    """Change a machine that is down meanwhile. Its jobs are interrupted, and resume with `auto_resume`.

    `detail`: the reason on the jobs. `again`: the words after `fleet` that continue.
    """
    await execution.interrupt_for_change(worker.id, detail)
    otherwise = f"`offload fleet start {worker.name}` starts it as it is then"
    try:
        async with explain_interruption(f"changing {worker.name}", worker.name, again, otherwise):
            worker = await change(worker)
    except OffloadError:
        if await Worker.objects.filter(id=worker.id, state="ready").aexists():
            await execution.resume_after_change(worker.id)  # the machine is as before
        raise
    await execution.resume_after_change(worker.id)
    return worker


@dataclass(frozen=True)
class DeletionPlan:
    """What deleting a machine removes. `confirmation`: None when nothing is left to delete."""

    worker: Worker
    with_disk: bool
    resources: tuple[Resource, ...]
    confirmation: ConfirmationPlan | None


@dataclass(frozen=True)
class Deleted:
    """A worker without its machine, what was kept (and costs), and the sessions of jobs that waited."""

    worker: Worker
    kept: tuple[Resource, ...]
    ended_jobs: tuple[str, ...]


async def plan_deletion(name: str, *, with_disk: bool = False, force: bool = False) -> DeletionPlan:
    """Return what deleting the machine means.

    Raises `Refused` while work there exists nowhere else, or when that is unknown, unless with `force`.
    """
    worker = await get_machine(name, "Deleting")
    resources = tuple(one for one in await fleet.belongings(worker) if with_disk or one.kind != "disk")
    if not force and resources and (lost := await execution.unsaved(worker)):
        raise Refused(
            f"{name} has work that exists nowhere else:\n  " + "\n  ".join(lost),
            hint="Push it, or remove the jobs (`offload rm --force` bundles it first); --force deletes it.",
        )
    if not resources:
        return DeletionPlan(worker, with_disk, (), None)
    question = f"Delete {name}{' and all data on it' if with_disk else ''}?"
    losses = tuple(str(one) for one in resources)
    return DeletionPlan(worker, with_disk, resources, ConfirmationPlan(question, losses=losses))


async def delete_machine(plan: DeletionPlan, actor: str, progress: Progress) -> Deleted:
    """Delete the machine and what was created for it; the data disk only `with_disk`."""
    worker, with_disk = plan.worker, plan.with_disk
    ended = await execution.end_waiting_jobs(worker.id, DELETED)
    again = f"delete {worker.name}{' --with-disk' if with_disk else ''}"
    async with explain_interruption(f"deleting {worker.name}", worker.name, again):
        kept = await fleet.delete(worker, progress, with_disk=with_disk)
    ended += await execution.end_waiting_jobs(worker.id, DELETED)  # submitted in the meantime
    if with_disk:
        await execution.mark_lost(worker, actor)
    else:
        await execution.interrupt_jobs(worker.id, "Its machine was deleted.")
    worker = await Worker.objects.aget(id=worker.id)
    await asyncio.to_thread(simulation.stop_if_unused)
    return Deleted(worker, tuple(kept), tuple(ended))


async def preempt_machine(name: str) -> Worker:
    """Take a simulated machine away, as Google takes spot machines. Raises `Refused` for a real one."""
    worker = await get_machine(name, "Preempting")
    await asyncio.to_thread(simulation.preempt, worker)
    return worker


async def read_console(name: str) -> str:
    """Return the text of the serial console of a machine."""
    worker = await get_machine(name, "Reading")
    provider = cloud_of(worker, "Reading")
    provider.require(Ability.CONSOLE)
    return await provider.console(worker.name)
