"""A commit's status, from a job's verdict."""

from __future__ import annotations

import re

from jobs.errors import UsageError
from jobs.forges.pulls import CommitStatus, Posted
from jobs.models import Draft
from jobs.outbox.kinds.base import Kind, Place
from jobs.outbox.preview import Preview

LONGEST_DESCRIPTION = 140  # GitHub refuses a longer one
_STATES = ("success", "failure")
_CONTEXT = re.compile(r"offload/[a-z]{1,20}")


def read_status(draft: Draft) -> CommitStatus:
    """Return the status that a draft names. Raises `UsageError` for a payload that is none."""
    context, state = draft.payload.get("context"), draft.payload.get("state")
    if not isinstance(context, str) or not _CONTEXT.fullmatch(context) or state not in _STATES:
        raise UsageError(f"Draft {draft.id} is no status.", hint="Drop it, and make it again.")
    return CommitStatus(context, state, " ".join(draft.body.split())[:LONGEST_DESCRIPTION])


class StatusKind(Kind):
    """A status of exactly the commit that was judged, also when the head has moved; then it is said."""

    async def prepare(self, place: Place, draft: Draft) -> Preview:
        """Compare the commit with the head."""
        status = read_status(draft)
        notes: tuple[str, ...] = ()
        if draft.number is not None:
            head = (await place.pull(draft)).head_sha
            if head != draft.head_sha:
                notes = (f"The head moved to {head[:10]}; the status is of {draft.head_sha[:10]}.",)
        return Preview(
            f"Status {status.context}: {status.state}", status.description,
            details=(f"commit {draft.head_sha}",), notes=notes,
        )  # fmt: skip

    async def find(self, place: Place, draft: Draft) -> Posted | None:
        """Tell whether the commit has this status."""
        return await place.client.find_status(place.slug, draft.head_sha, read_status(draft))

    async def post(self, place: Place, draft: Draft, shown: Preview) -> Posted:
        """Set the status."""
        return await place.client.post_status(place.slug, draft.head_sha, read_status(draft))
