"""What the navigation of every page shows of the outbox."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest

from jobs import outbox


def count_in_navigation(request: HttpRequest) -> dict[str, Callable[[], int]]:
    """Return the count of unsent drafts, read when a template asks for it."""
    return {"count_drafts": outbox.count_drafts}
