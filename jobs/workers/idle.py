"""When a machine turns itself off, and keeping it up for longer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from jobs.errors import OffloadError, UsageError
from jobs.models import Worker
from jobs.states import WorkerState
from jobs.workers.connection import connect, layout_of
from jobs.workers.machines import cloud_of, cloud_or_none, set_row

LONGEST_HOURS = 7 * 24.0
READ_DEADLINE = 10.0
# The watchdog looks each minute; what is older says nothing any more.
FRESH = timedelta(minutes=5)


@dataclass(frozen=True)
class Idle:
    """What the watchdog said last. `stops_at` is None while something keeps the machine up."""

    stops_at: datetime | None
    because: str
    at: datetime

    @property
    def text(self) -> str:
        """Return it as a sentence, times in UTC."""
        if self.stops_at is None:
            return f"Stays up because {self.because}."
        return f"Stops at {self.stops_at:%H:%M} UTC because {self.because}."


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def idle_of(worker: Worker, now: datetime | None = None) -> Idle | None:
    """Return what was last read from the worker's watchdog; None when that is old, or nothing was."""
    said: Mapping[str, Any] = worker.config.get("idle") or {}
    at = _moment(said.get("at"))
    fresh = at is not None and abs((now or timezone.now()) - at) < FRESH
    if at is None or not fresh or worker.state != WorkerState.READY:
        return None
    return Idle(_moment(said.get("stops_at")), str(said.get("because") or ""), at)


async def read_idle(worker: Worker) -> Worker:
    """Read from the machine what its watchdog said last, and save it; return the row.

    A machine without a watchdog, or that does not answer, leaves the row as it is.
    """
    if cloud_or_none(worker) is None or worker.state != WorkerState.READY:
        return worker
    try:
        async with connect(worker) as line:
            file = layout_of(worker).path("state", "idle.json")
            done = await line.transport.run(["cat", file], deadline=READ_DEADLINE)
        said = json.loads(done.stdout)
    except (OffloadError, ValueError):
        return worker
    kept = {key: said.get(key) for key in ("at", "stops_at", "because")}
    return await set_row(worker, idle=kept)


async def keep(worker: Worker, hours: float) -> datetime:
    """Keep the worker's machine up for so many hours from now (0: no longer); return until when.

    Raises `Refused` for a machine that does not stop by itself, `UsageError`, or an error of the line.
    """
    cloud_of(worker, "Keeping")
    if not 0 <= hours <= LONGEST_HOURS:
        raise UsageError(
            f"{hours:g} hours is not possible.", hint=f"Between 0 and {LONGEST_HOURS:g} hours; 0 ends it."
        )
    until = timezone.now().replace(microsecond=0) + timedelta(hours=hours)
    async with connect(worker) as line:
        file = layout_of(worker).path("state", "keep-until")
        await line.transport.put(file, f"{until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}\n".encode())
    return until
