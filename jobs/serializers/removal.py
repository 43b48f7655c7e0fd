"""THE JSON of a request to remove a job, for every interface."""

from __future__ import annotations

from typing_extensions import TypedDict

from jobs.models import JobEvent, WorkerRequest
from jobs.serializers.times import utc


class RemovalJson(TypedDict):
    """A request to remove a job. `state`: open while it is pending or running; `error`: why it failed.

    `bundle`, `kept` and `notes` as in the answer of `offload rm --json`, once the job is removed.
    """

    state: str
    error: str | None
    requested_at: str
    finished_at: str | None
    bundle: str | None
    kept: str | None
    notes: list[str]


def removal_json(request: WorkerRequest, removed: JobEvent | None) -> RemovalJson:
    """Return a request to remove a job as data. `removed`: the event of its removal, if it came to that."""
    told = removed.data if removed is not None else {}
    return {
        "state": request.state,
        "error": request.error or None,
        "requested_at": utc(request.requested_at),
        "finished_at": utc(request.finished_at),
        "bundle": told.get("bundle"),
        "kept": told.get("kept"),
        "notes": list(told.get("notes") or ()),
    }
