"""When a machine turns itself off, and keeping it up for longer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django.utils import timezone

from jobs.errors import CommandFailed, OffloadError, UsageError
from jobs.formats import format_clock
from jobs.models import Worker
from jobs.states import WorkerState
from jobs.workers.connection import connect, layout_of
from jobs.workers.machines import cloud_of, cloud_or_none, is_cloud
from jobs.workers.records import Note, set_row

LONGEST_HOURS = 7 * 24.0
READ_DEADLINE = 10.0
# The watchdog looks each minute; what is older says nothing any more.
FRESH = timedelta(minutes=5)
SOON = timedelta(minutes=20)
_SAID = ("at", "stops_at", "because", "idle_since", "idle_minutes", "reasons")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
# A text with the moments in it, so that each reader can be told in its own time zone.
Parts = Sequence[str | datetime]


@dataclass(frozen=True)
class Idle:
    """When a machine stops, as far as is known. `at`: how old that is.

    `stops_at` is None while something keeps it up. `deadline`: when its provider stops it whatever happens.
    """

    stops_at: datetime | None
    because: str
    at: datetime
    kept_until: datetime | None = None
    deadline: datetime | None = None

    @property
    def ends_at(self) -> datetime | None:
        """Return the moment at which the machine goes, for whichever reason comes first."""
        known = [moment for moment in (self.stops_at, self.deadline) if moment is not None]
        return min(known, default=None)

    @property
    def parts(self) -> Parts:
        """Return it in a sentence or two."""
        last = self.deadline
        if last is not None and (not self.because or (self.stops_at is not None and last <= self.stops_at)):
            return ["Stops at ", last, " because its longest run time is used up then."]
        said: list[str | datetime] = ["Stays up because "]
        if self.stops_at is not None:
            said = ["Stops at ", self.stops_at, " because "]
        said += [*with_moments(self.because), "."]
        return [*said, " Its longest run time ends at ", last, "."] if last is not None else said

    @property
    def text(self) -> str:
        """Return it as a sentence, times in UTC."""
        return in_zone(self.parts)

    def is_soon(self, now: datetime | None = None) -> bool:
        """Tell whether a user at work there should be told now."""
        return self.ends_at is not None and self.ends_at - (now or timezone.now()) < SOON


def with_moments(text: str) -> Parts:
    """Return a text with the moments in it taken out: `since 2026-01-01T10:00:00Z` has two parts. Pure."""
    parts: list[str | datetime] = []
    begin = 0
    for match in _STAMP.finditer(text):
        moment = moment_of(match[0])
        if moment is not None:
            parts += [text[begin : match.start()], moment]
            begin = match.end()
    return [part for part in [*parts, text[begin:]] if part != ""]


def in_zone(parts: Parts, zone: tzinfo = UTC, now: datetime | None = None) -> str:
    """Return a text with its moments as clocks in that zone show them."""
    return "".join(part if isinstance(part, str) else format_clock(part, zone, now) for part in parts)


def moment_of(text: Any) -> datetime | None:
    """Return the moment that a text says (ISO 8601, UTC unless it says otherwise); None for anything else."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def idle_of(worker: Worker, now: datetime | None = None) -> Idle | None:
    """Return when the worker's machine stops; None when nothing is known of that, or only old things.

    What was asked of the machine after its watchdog looked last is taken into account.
    """
    now = now or timezone.now()
    if worker.state not in (WorkerState.READY, WorkerState.UNREACHABLE) or not is_cloud(worker):
        return None
    deadline = moment_of(worker.facts.get("deadline"))
    said: Mapping[str, Any] = worker.facts.get("idle") or {}
    at = moment_of(said.get("at"))
    if at is not None and (abs(now - at) >= FRESH or worker.state != WorkerState.READY):
        at = None
    kept: Mapping[str, Any] = worker.facts.get("kept") or {}
    kept_at = moment_of(kept.get("at"))
    newer = kept_at is not None and (at is None or kept_at > at)
    until = moment_of(kept.get("until")) if newer else _kept_until(said) if at is not None else None
    until = until if until is not None and until > now else None
    if at is None:
        return _without_watchdog(until, kept_at, deadline, worker.observed_at or now)
    if not newer:
        return Idle(moment_of(said.get("stops_at")), str(said.get("because") or ""), at, until, deadline)
    return _rules(said, at, until, deadline)


def _without_watchdog(
    until: datetime | None, kept_at: datetime | None, deadline: datetime | None, seen: datetime
) -> Idle | None:
    if until is not None and kept_at is not None:
        return Idle(None, f"it is kept until {until.isoformat()} on request", kept_at, until, deadline)
    if deadline is not None:
        return Idle(None, "", seen, None, deadline)
    return None


def _rules(said: Mapping[str, Any], at: datetime, until: datetime | None, deadline: datetime | None) -> Idle:
    """Return what the watchdog will say at its next look, by its own rules, now that `until` is new."""
    reasons = [one for one in said.get("reasons") or () if isinstance(one, Mapping)]
    busy = [str(one.get("text")) for one in reasons if one.get("kind") != "keep"]
    if busy:
        return Idle(None, "; ".join(busy), at, until, deadline)
    since = moment_of(said.get("idle_since"))
    minutes = said.get("idle_minutes")
    if since is None or not isinstance(minutes, (int, float)):
        stops, because = until, "its watchdog has not looked since"
    else:
        stops, because = (
            since + timedelta(minutes=minutes),
            f"nothing has been at work here since {since.isoformat()}",
        )
    if until is not None and (stops is None or until >= stops):
        stops, because = until, "it is kept until then on request"
    return Idle(stops, because, at, until, deadline)


def _kept_until(said: Mapping[str, Any]) -> datetime | None:
    for one in said.get("reasons") or ():
        if (
            isinstance(one, Mapping)
            and one.get("kind") == "keep"
            and (found := _STAMP.search(str(one.get("text"))))
        ):
            return moment_of(found[0])
    return None


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
    except CommandFailed:
        await _seen(worker)  # it has no watchdog
        return worker
    except (OffloadError, ValueError):
        return worker
    if not isinstance(said, dict):
        return worker
    await _seen(worker)
    kept = {key: said.get(key) for key in _SAID}
    before = worker.facts.get("idle") or {}
    # Pages hear of what is new to a reader, not of each look.
    news = any(kept[key] != before.get(key) for key in ("stops_at", "because"))
    note = Note("idle", data={key: kept[key] for key in ("stops_at", "because")}) if news else None
    return await set_row(worker, idle=kept, note=note)


async def _seen(worker: Worker) -> None:
    """Note the age of what is known; a machine that is on its way down meanwhile stays so."""
    row = Worker.objects.filter(id=worker.id, state=WorkerState.READY)
    await row.aupdate(observed_at=timezone.now())


def until_of(hours: float) -> datetime:
    """Return until when a machine is kept that is kept for so many hours from now. Raises `UsageError`."""
    if not 0 <= hours <= LONGEST_HOURS:
        raise UsageError(
            f"{hours:g} hours is not possible.", hint=f"Between 0 and {LONGEST_HOURS:g} hours; 0 ends it."
        )
    return timezone.now().replace(microsecond=0) + timedelta(hours=hours)


async def keep(worker: Worker, until: datetime, actor: str = "") -> Worker:
    """Keep the worker's machine up until then (a moment that is past: no longer); return the row.

    Raises `Refused` for a machine that does not stop by itself, or an error of the line.
    """
    cloud_of(worker, "Keeping")
    stamp = f"{until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    async with connect(worker) as line:
        await line.transport.put(layout_of(worker).path("state", "keep-until"), f"{stamp}\n".encode())
    now = timezone.now()
    note = Note("kept", actor, {"until": stamp if until > now else None})
    return await set_row(worker, kept={"until": stamp, "by": actor, "at": now.isoformat()}, note=note)
