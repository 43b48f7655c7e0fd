"""A pull request for the commits of a job: its branch is pushed and the request opened, by one yes."""

from __future__ import annotations

from dataclasses import replace

from jobs.errors import Refused
from jobs.forges.pulls import NewPull, Posted, one_line
from jobs.models import Draft
from jobs.outbox import pushing
from jobs.outbox.kinds.base import Kind, Place
from jobs.outbox.placing import LONGEST, mark_text, with_mark
from jobs.outbox.preview import Preview

_LONGEST_TITLE = 200


class PullRequestKind(Kind):
    """Pushes exactly the commits that were shown to a branch that is not there yet, and opens the request.

    The first line of the draft's text is the title. A branch that an earlier attempt pushed is used again.
    """

    async def prepare(self, place: Place, draft: Draft) -> Preview:
        """List the branch, the commits and the changed files under the text."""
        new = _read(place, draft)
        await self._head(place, draft, new)
        change = await pushing.read_change(draft, draft.head_sha)
        notes = [*pushing.notes_on(change)]
        details = [f"{new.head_ref} of {new.head_repository} -> {new.base_ref} of {place.slug}"]
        if new.draft:
            details.append(f"As a draft, for the verdict is {draft.payload['verdict'] or 'missing'}.")
        details.append(f"{draft.head_sha[:10]} -> {pushing.tip_of(draft)}")
        return Preview(
            f"Open a pull request: {new.title}", new.body,
            details=(*details, *pushing.lines_of(change)), notes=tuple(notes),
        )  # fmt: skip

    async def find(self, place: Place, draft: Draft) -> Posted | None:
        """Return the pull request of the branch that has the draft's mark."""
        return await place.client.find_pull(place.slug, _read(place, draft), mark_text(draft.mark))

    async def post(self, place: Place, draft: Draft, shown: Preview) -> Posted:
        """Push the branch unless it is there with these commits, and open the pull request."""
        new = _read(place, draft)
        if not await self._head(place, draft, new):
            await pushing.push(draft, place.repository, _branch(new), "")
        return await place.client.open_pull(place.slug, replace(new, body=with_mark(new.body, draft.mark)))

    async def _head(self, place: Place, draft: Draft, new: NewPull) -> str:
        """Return the commit of the branch, empty without one. Raises `Refused` when it is not the draft's."""
        head = await pushing.branch_head(place.repository, _branch(new))
        if head not in ("", pushing.tip_of(draft)):
            raise Refused(
                f"The branch {new.head_ref} of {new.head_repository} is there, at {head[:10]}: these commits "
                "are not on it.",
                hint="Drop the draft, or delete the branch there and send the draft again.",
            )
        return head


def _read(place: Place, draft: Draft) -> NewPull:
    """Return what a draft asks for. Raises `Refused` for a text without a title."""
    title, _, body = draft.body.strip().partition("\n")
    title = one_line(title)[:_LONGEST_TITLE]
    payload = draft.payload
    if not title or not payload.get("branch") or not payload.get("base"):
        raise Refused(f"Draft {draft.id} has no title.", hint="The first line of its text is the title.")
    return NewPull(
        title,
        body.strip()[:LONGEST],
        base_ref=str(payload["base"]),
        head_ref=str(payload["branch"]),
        head_repository=place.slug,
        draft=payload.get("verdict") != "pass",
    )


def _branch(new: NewPull) -> pushing.Branch:
    return pushing.Branch(new.head_repository, new.head_ref, f"The branch {new.head_ref}")
