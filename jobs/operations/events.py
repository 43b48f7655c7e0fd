"""Events for interfaces."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from asgiref.sync import sync_to_async

from jobs.models import JobEvent


@sync_to_async
def read_events(*, job_id: int | None = None, after: int = 0, limit: int) -> Sequence[JobEvent]:
    """Return the events with a larger id than `after`, oldest first; with `job_id`, those of that job."""
    events = JobEvent.objects.select_related("worker").filter(id__gt=after).order_by("id")
    if job_id is not None:
        events = events.filter(job_id=job_id)
    return list(events[:limit])


@sync_to_async
def read_events_by_id(ids: Collection[int]) -> Sequence[JobEvent]:
    """Return the events with these ids, oldest first."""
    return list(JobEvent.objects.select_related("worker").filter(id__in=ids).order_by("id"))


async def count_events(after: int) -> int:
    """Return how many events have a larger id."""
    return await JobEvent.objects.filter(id__gt=after).acount()
