"""Rows of the inbox that a user marks as done or snoozes. The only writer of `Dismissal`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q
from django.utils import timezone

from jobs.models import Dismissal, Job, JobEvent, PullRequest

# The kinds of events that bring a row back.
NEWS = ("submitted", "state", "attention", "head_moved")


@dataclass(frozen=True)
class InboxRow:
    """A pull request, branch or commit of a repository, as a row of the inbox."""

    repository_id: int
    target: str


def newest_event() -> int:
    """Return the number of the newest event: what a page that is read now has seen."""
    return JobEvent.objects.aggregate(newest=Max("id"))["newest"] or 0


def dismiss_rows(rows: Iterable[InboxRow], seen: int, actor: str, *, until: datetime | None = None) -> int:
    """Mark rows as done, or as snoozed `until` then; return how many there were. Jobs are not changed.

    `seen` is the newest event that the user had seen: what came later brings a row back.
    """
    seen = min(seen, newest_event())
    word = "snoozed" if until else "marked_done"
    return _write(rows, actor, word, {"until": until, "seen": seen, "actor": actor})


def restore_rows(rows: Iterable[InboxRow], actor: str) -> int:
    """Bring rows back that were marked as done or snoozed; return how many there were."""
    return _write(rows, actor, "restored", None)


def list_dismissed() -> dict[InboxRow, datetime | None]:
    """Return the dismissals that hold now, with the end of each snooze; None for a row that is done."""
    news = JobEvent.objects.filter(
        job__repository=OuterRef("repository"), job__target=OuterRef("target"), id__gt=OuterRef("seen"),
        kind__in=NEWS,
    )  # fmt: skip
    held = Dismissal.objects.filter(Q(until=None) | Q(until__gt=timezone.now())).exclude(Exists(news))
    values = held.values_list("repository_id", "target", "until")
    return {InboxRow(repository, target): until for repository, target, until in values}


def _write(rows: Iterable[InboxRow], actor: str, kind: str, values: dict[str, Any] | None) -> int:
    count = 0
    for row in rows:
        with transaction.atomic():
            jobs = Job.objects.filter(repository_id=row.repository_id, target=row.target)
            newest = jobs.order_by("-id").first()
            if newest is None and not _is_pull(row):
                continue
            if values is None:
                Dismissal.objects.filter(repository_id=row.repository_id, target=row.target).delete()
            else:
                Dismissal.objects.update_or_create(
                    repository_id=row.repository_id,
                    target=row.target,
                    defaults={**values, "created_at": timezone.now()},
                )
            if newest is not None:  # open pages follow events
                JobEvent.objects.create(job=newest, kind=kind, actor=actor)
            count += 1
    return count


def _is_pull(row: InboxRow) -> bool:
    number = row.target.removeprefix("#")
    pulls = PullRequest.objects.filter(repository_id=row.repository_id)
    return number.isdecimal() and len(number) < 10 and pulls.filter(number=int(number)).exists()
