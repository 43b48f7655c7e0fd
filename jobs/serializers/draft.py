"""THE JSON of a draft, for every interface."""

from __future__ import annotations

from typing import Any

from jobs.models import Draft
from jobs.serializers.times import utc


def draft_json(draft: Draft) -> dict[str, Any]:
    """Return a draft as data."""
    return {
        "id": draft.id,
        "kind": draft.kind,
        "state": draft.state,
        "repository": draft.repository.slug,
        "number": draft.number,
        "verdict": draft.verdict,
        "head_sha": draft.head_sha,
        "body": draft.body,
        "comments": draft.comments,
        "url": draft.url or None,
        "error": draft.error or None,
        "created_at": utc(draft.created_at),
        "sent_at": utc(draft.sent_at),
    }
