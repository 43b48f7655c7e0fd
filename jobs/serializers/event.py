"""THE JSON of an event, for every interface."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from jobs.models import JobEvent
from jobs.serializers.times import utc


class EventJson(TypedDict):
    """One thing that happened. `seq`: its number in the job's journal; null when Offload did it."""

    id: int
    job: int | None
    worker: str | None
    seq: int | None
    at: str
    kind: str
    data: dict[str, Any]
    actor: str | None


def event_json(event: JobEvent) -> EventJson:
    """Return an event as data. Its worker must be loaded."""
    return {
        "id": event.id,
        "job": event.job_id,
        "worker": event.worker.name if event.worker is not None else None,
        "seq": event.seq,
        "at": utc(event.at),
        "kind": event.kind,
        "data": event.data,
        "actor": event.actor or None,
    }
