"""The events that users are told of, and what came of the notices that `serve` sends (setting `notify`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.utils import timezone

from jobs.models import JobEvent

# An older event is no news: the dashboard was not running, or notices were off.
NEWS = timedelta(hours=1)
NOTIFIED = "notified"  # the kind of the event that records a notice


def recent_events(after: int) -> QuerySet[JobEvent]:
    """Return the events after one that can be news, oldest first, with their jobs."""
    events = JobEvent.objects.filter(
        id__gt=after, kind__in=("state", "attention"), at__gt=timezone.now() - NEWS
    )
    return events.select_related("job__repository", "job__worker").order_by("id")


def is_webhook(words: Sequence[str]) -> bool:
    """Return whether the setting `notify` is an address."""
    return len(words) == 1 and words[0].startswith(("https://", "http://"))


@sync_to_async
def last_failed_notice() -> tuple[JobEvent, str] | None:
    """Return the event of the newest notice and why it failed; None when it did not fail."""
    last = JobEvent.objects.filter(kind=NOTIFIED, job__isnull=False).order_by("-id").first()
    return (last, str(last.data["error"])) if last is not None and last.data.get("error") else None
