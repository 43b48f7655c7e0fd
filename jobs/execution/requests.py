"""What pages ask of a machine: keep it up, start it, stop it. A view writes the wish; `reconcile` acts.

A wish is in the worker's configuration until it is carried out, or cannot be: `keep_wish`
(`{"until", "by", "at"}`) and `power_wish` (`{"to": "up" | "down", "force", "by", "at"}`). The newest wish
replaces an older one. `wish_failed` (`{"text", "at"}`) says what came of the last one, if nothing did.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from jobs.errors import OffloadError, Refused
from jobs.execution.interruption import brake, settle
from jobs.models import Job, Worker
from jobs.states import JOB_ACTIVE, WorkerState
from jobs.workers import fleet, idle
from jobs.workers.machines import Note, cloud_of, set_row

KEEP, POWER = "keep_wish", "power_wish"
KINDS = (KEEP, POWER)
# A line that does not answer is tried again for so long.
PATIENCE = timedelta(minutes=15)
_GOING = (WorkerState.READY, WorkerState.UNREACHABLE)


def _now() -> str:
    return timezone.now().isoformat()


async def note_asked(worker: Worker, what: str, actor: str) -> None:
    """Record who asked for what is done at once, without a wish (`start`, `stop`).

    What a page asked for before, and nobody has carried out yet, is forgotten.
    """
    await set_row(worker, note=Note("asked", actor, {"what": what}), power_wish=None)


async def busy_jobs(worker: Worker) -> list[str]:
    """Return the sessions of the jobs that a stop of the worker's machine would interrupt or hold up."""
    here = Job.objects.filter(worker_id=worker.id, removed_at__isnull=True, state__in=JOB_ACTIVE)
    return [session async for session in here.order_by("id").values_list("session", flat=True)]


async def require_idle(worker: Worker) -> None:
    """Raise `Refused` while jobs are at work on the worker, or wait to be."""
    if busy := await busy_jobs(worker):
        raise Refused(
            f"{worker.name} is at work: {', '.join(busy)}.",
            hint="Wait or cancel; --force stops it, and the jobs go on with the same command.",
        )


async def ask_keep(worker: Worker, hours: float, actor: str) -> datetime:
    """Write the wish to keep the worker's machine up for so many hours from now (0: no longer).

    Returns until when. Raises `Refused` (nothing to keep up), `UsageError` (hours).
    """
    cloud_of(worker, "Keeping")
    until = idle.until_of(hours)
    if worker.state not in _GOING:
        raise Refused(
            f"{worker.name} is {worker.state}: there is nothing to keep up.", hint="Start it first."
        )
    stamp = until.astimezone(UTC).isoformat()
    wish = {"until": stamp, "by": actor, "at": _now()}
    note = Note("asked", actor, {"what": "keep", "hours": hours, "until": stamp})
    await set_row(worker, note=note, keep_wish=wish, wish_failed=None)
    return until


async def ask_start(worker: Worker, actor: str) -> None:
    """Write the wish to start the worker's machine. Raises `Refused` when there is none, or it runs."""
    cloud_of(worker, "Starting")
    if worker.state not in (WorkerState.STOPPED, WorkerState.STOPPING):
        raise Refused(
            f"{worker.name} is {worker.state}: there is no stopped machine to start.",
            hint=f"`manage.py fleet provision {worker.name}` makes one." if worker.state == "absent" else "",
        )
    await _ask_power(worker, actor, to="up")


async def ask_stop(worker: Worker, actor: str, *, force: bool = False) -> None:
    """Write the wish to stop the worker's machine. Raises `Refused` while jobs run, unless with `force`."""
    cloud_of(worker, "Stopping")
    if worker.state in (WorkerState.STOPPED, WorkerState.ABSENT, WorkerState.DELETING):
        raise Refused(f"{worker.name} is {worker.state} already.")
    if not force:
        await require_idle(worker)
    await _ask_power(worker, actor, to="down", force=force)


async def _ask_power(worker: Worker, actor: str, *, to: str, force: bool = False) -> None:
    wish = {"to": to, "force": force, "by": actor, "at": _now()}
    note = Note("asked", actor, {"what": "start" if to == "up" else "stop", "force": force})
    await set_row(worker, note=note, power_wish=wish, wish_failed=None)


async def carry_out(worker: Worker, kind: str) -> None:
    """Do what a wish asks for, and forget the wish. What cannot be done is told on the row.

    Raises an error of the line, with the wish still there, when another try makes sense. A wish that is
    replaced meanwhile stays.
    """
    wish = worker.config[kind]
    try:
        if kind == KEEP:
            await _keep(worker, wish)
        elif wish["to"] == "up":
            await fleet.start(worker, expect={POWER: wish})
        else:
            await _stop(worker, wish)
    except OffloadError as error:
        late = timezone.now() - datetime.fromisoformat(wish["at"]) > PATIENCE
        # A start is not tried again by itself: it would come, and cost, when nobody expects it any more.
        if error.retryable and not late and not (kind == POWER and wish["to"] == "up"):
            raise
        await _forget(worker, kind, wish, f"{_doing(kind, wish)} failed: {error}")
    else:
        await _forget(worker, kind, wish)


async def _keep(worker: Worker, wish: dict[str, Any]) -> None:
    if worker.state not in _GOING:
        raise Refused(f"{worker.name} is {worker.state}.")
    await idle.keep(worker, datetime.fromisoformat(wish["until"]), wish["by"])


async def _stop(worker: Worker, wish: dict[str, Any]) -> None:
    if not wish.get("force"):
        await require_idle(worker)
    detail = f"Its machine was stopped on request of {wish['by']}."
    if await brake(worker.id, detail, expect={POWER: wish}):
        await fleet.stop(worker)
        await settle(worker.id, detail)


def _doing(kind: str, wish: dict[str, Any]) -> str:
    if kind == KEEP:
        return "Keeping it up"
    return "Starting it" if wish["to"] == "up" else "Stopping it"


async def _forget(worker: Worker, kind: str, wish: dict[str, Any], failed: str = "") -> None:
    changes: dict[str, Any] = {kind: None}
    note = Note("done", wish["by"], {"what": _doing(kind, wish)})
    if failed:
        changes["wish_failed"] = {"text": failed, "at": _now()}
        note = Note("failed", wish["by"], {"text": failed})
    await asyncio.shield(set_row(worker, note=note, expect={kind: wish}, **changes))
