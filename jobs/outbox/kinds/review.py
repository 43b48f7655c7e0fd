"""A review with a verdict and comments on lines and files."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.errors import Refused
from jobs.forges.pulls import Event, LineComment, Posted
from jobs.models import Draft
from jobs.outbox.kinds.base import Kind, Place, number_of
from jobs.outbox.placing import mark_text, place_review, with_mark
from jobs.outbox.preview import Preview

_EVENTS: Mapping[str, Event] = {
    "COMMENT": "COMMENT", "APPROVE": "APPROVE", "REQUEST_CHANGES": "REQUEST_CHANGES"
}  # fmt: skip


class ReviewKind(Kind):
    """One review, posted whole or not at all. It is about one commit: when the head moves, it is refused."""

    async def prepare(self, place: Place, draft: Draft) -> Preview:
        """Place the comments in the diff as it is now."""
        pull = await place.pull(draft)
        if pull.head_sha != draft.head_sha:
            raise Refused(
                f"The head of #{draft.number} moved from {draft.head_sha[:10]} to {pull.head_sha[:10]} after "
                "the review.",
                hint="Review the new head, and make the draft again; or drop this one.",
            )
        files = await place.files(draft)
        comments = [LineComment(str(c["path"]), str(c["body"]), c["line"]) for c in draft.comments]
        # Without known threads (None) nothing is left out.
        placed = place_review(draft.verdict, draft.body, comments, files, pull.threads or ())
        if not placed.body and not placed.comments:
            raise Refused(f"Draft {draft.id} has nothing to post.", hint="Edit it, or drop it.")
        return placed

    async def find(self, place: Place, draft: Draft) -> Posted | None:
        """Look for the user's review with the draft's mark."""
        return await place.client.find_mark(place.slug, number_of(draft), mark_text(draft.mark))

    async def post(self, place: Place, draft: Draft, shown: Preview) -> Posted:
        """Post the review."""
        pull = await place.pull(draft)
        body = with_mark(shown.body, draft.mark)
        return await place.client.post_review(
            place.slug, pull, draft.head_sha, _EVENTS[draft.verdict], body, shown.comments
        )
