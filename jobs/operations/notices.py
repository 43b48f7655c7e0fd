"""What came of the notices that `serve` sends (setting `notify`)."""

from __future__ import annotations

from collections.abc import Sequence

from asgiref.sync import sync_to_async

from jobs.models import JobEvent

NOTIFIED = "notified"  # the kind of the event that records a notice


def is_webhook(words: Sequence[str]) -> bool:
    """Return whether the setting `notify` is an address."""
    return len(words) == 1 and words[0].startswith(("https://", "http://"))


@sync_to_async
def last_failed_notice() -> tuple[JobEvent, str] | None:
    """Return the event of the newest notice and why it failed; None when it did not fail."""
    last = JobEvent.objects.filter(kind=NOTIFIED, job__isnull=False).order_by("-id").first()
    return (last, str(last.data["error"])) if last is not None and last.data.get("error") else None
