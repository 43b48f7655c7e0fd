"""THE JSON of a draft, for every interface."""

from __future__ import annotations

from typing_extensions import TypedDict

from jobs.models import Draft
from jobs.serializers.times import utc


class CommentJson(TypedDict):
    """A comment of a review. `line`: null when it is about the file."""

    path: str
    line: int | None
    body: str


class DraftJson(TypedDict):
    """A draft. `url`: where it was posted; `error`: why the last attempt to send it failed."""

    id: int
    kind: str
    state: str
    repository: str
    number: int
    verdict: str
    head_sha: str
    body: str
    comments: list[CommentJson]
    url: str | None
    error: str | None
    created_at: str
    sent_at: str | None


def draft_json(draft: Draft) -> DraftJson:
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
