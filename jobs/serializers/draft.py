"""THE JSON of a draft, for every interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from jobs.models import Draft
from jobs.serializers.times import utc

if TYPE_CHECKING:
    from jobs.outbox import Preview


class CommentJson(TypedDict):
    """A comment of a review. `line`: null when it is about the file."""

    path: str
    line: int | None
    body: str


class DraftJson(TypedDict):
    """A draft. `url`: where it was posted; `error`: why the last attempt to send it failed.

    `revision` goes up with each edit; an edit names the one that it changes.
    """

    id: int
    kind: str
    state: str
    revision: int
    repository: str
    number: int | None
    verdict: str
    head_sha: str
    body: str
    comments: list[CommentJson]
    url: str | None
    error: str | None
    created_at: str
    sent_at: str | None


class PreviewJson(TypedDict):
    """A draft exactly as it would appear now. `title`: what sending it does. `quote`: what it answers.

    `notes`: what was changed in placing it. `digest`: names this preview when it is confirmed.
    """

    title: str
    verdict: str | None
    body: str
    comments: list[CommentJson]
    quote: str | None
    details: list[str]
    notes: list[str]
    digest: str


def preview_json(shown: Preview) -> PreviewJson:
    """Return a draft as it will appear, as data."""
    return {
        "title": shown.title,
        "verdict": shown.verdict or None,
        "body": shown.body,
        "comments": [{"path": c.path, "line": c.line, "body": c.body} for c in shown.comments],
        "quote": shown.quote or None,
        "details": list(shown.details),
        "notes": list(shown.notes),
        "digest": shown.digest,
    }


def draft_json(draft: Draft) -> DraftJson:
    """Return a draft as data."""
    return {
        "id": draft.id,
        "kind": draft.kind,
        "state": draft.state,
        "revision": draft.revision,
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
