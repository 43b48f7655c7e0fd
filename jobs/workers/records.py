"""The only writer of a worker's settings (`config`) and facts (`facts`).

Settings are what a user asked for. Facts are what was observed of the machine, and where it was placed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from asgiref.sync import sync_to_async
from django.db import transaction

from jobs.models import JobEvent, Worker
from jobs.states import WorkerDesired
from jobs.transitions import set_desired
from jobs.workers.requests import is_open
from jobs.workers.settings_schema import check_settings


class Facts(TypedDict, total=False):
    """The facts about a worker's machine. To save None is to forget a fact."""

    zone: str | None  # where the machine is, or was last requested
    spot: bool | None  # whether that was a spot machine
    placement: str | None  # why it is not in the first place that was asked for
    disk_zone: str | None  # where its data disk is
    tried: list[str] | None  # zones where a request may have left a blank disk
    adopts: list[str] | None  # ids of other homes whose disks and machines are taken over
    maker: str | None  # the process that asked for the machine last (`host:pid`)
    way: str | None  # the route that answered last
    address: dict[str, Any] | None  # what its provider needs to know in order to say where it is
    down: str | None  # why it is down, in the provider's word
    deadline: str | None  # when the provider stops it (ISO 8601)
    idle: dict[str, Any] | None  # what its watchdog wrote last
    capacity: dict[str, Any] | None  # what it measured of itself, and when (`at`, ISO 8601)
    kept: dict[str, Any] | None  # until when it is kept, who asked, and when


@dataclass(frozen=True)
class Note:
    """The event that records a change of a worker: pages update by it, and a user can look it up."""

    kind: str
    actor: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def is_newer(row: Worker, seen: Worker | None) -> bool:
    """Return whether a row has another state or desired state than when it was `seen`."""
    return seen is not None and any(
        getattr(row, name) != getattr(seen, name)
        for name in ("state", "state_detail", "state_since", "desired")
    )


def _set_row(
    worker_id: int,
    desired: WorkerDesired | None,
    changes: Facts,
    note: Note | None,
    request_id: int | None,
    seen: Worker | None,
) -> Worker:
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        if is_newer(row, seen):
            return seen or row
        if request_id is not None and not is_open(request_id):
            return row
        facts = {key: value for key, value in {**row.facts, **changes}.items() if value is not None}
        Worker.objects.filter(id=worker_id).update(facts=facts)
        if desired is not None:
            set_desired(worker_id, desired)
        if note is not None:
            JobEvent.objects.create(
                worker_id=worker_id, kind=note.kind, actor=note.actor, data=dict(note.data)
            )
    return Worker.objects.get(id=worker_id)


async def set_row(
    worker: Worker,
    desired: WorkerDesired | None = None,
    *,
    note: Note | None = None,
    request_id: int | None = None,
    seen: Worker | None = None,
    **changes: Unpack[Facts],
) -> Worker:
    """Save a worker's desired state and changes of its facts (None: forget); return the row.

    `note` is recorded with it. Nothing is done when the request `request_id` was replaced, or the row
    has changed since it was `seen`.
    """
    return await sync_to_async(_set_row)(worker.id, desired, changes, note, request_id, seen)


def change_settings(worker_id: int, **changes: Any) -> Worker:
    """Save changes of a worker's settings; return the row. Raises `UsageError` for impossible ones."""
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        row.config = {**row.config, **changes}
        check_settings(row.name, row.provider, row.config, only=changes)
        Worker.objects.filter(id=worker_id).update(config=row.config)
    return row


achange_settings = sync_to_async(change_settings)


def create_worker(
    name: str, provider: str, root: str, config: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> Worker:
    """Create a worker's row. Raises `IntegrityError` when the name is used, `UsageError` for bad settings."""
    with transaction.atomic():
        row = Worker.objects.create(
            name=name, provider=provider, root=root, config=dict(config), facts=dict(facts or {})
        )
        check_settings(name, provider, config)
    return row


def replace_settings(worker_id: int, root: str, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Save the settings of a new request for a worker without a machine, and what is known for it."""
    row = Worker.objects.get(id=worker_id)
    check_settings(row.name, row.provider, config)
    Worker.objects.filter(id=worker_id).update(root=root, config=dict(config), facts=dict(facts))


def get_or_create_worker(
    name: str, provider: str, root: str, config: Mapping[str, Any]
) -> tuple[Worker, bool]:
    """Return the row of a worker that needs no request, and whether it was created."""
    check_settings(name, provider, config)
    defaults = {"provider": provider, "root": root, "config": dict(config)}
    return Worker.objects.get_or_create(name=name, defaults=defaults)
