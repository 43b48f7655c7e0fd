"""A push of a job's commits to the branch of its pull request."""

from __future__ import annotations

from jobs.errors import Refused
from jobs.forges.pulls import Posted, Pull
from jobs.models import Draft
from jobs.outbox import pushing
from jobs.outbox.kinds.base import Kind, Place
from jobs.outbox.preview import Preview


class PushKind(Kind):
    """Adds exactly the commits that were shown to the branch, at the head that was shown."""

    async def prepare(self, place: Place, draft: Draft) -> Preview:
        """List the commits and the changed files."""
        pull = await self._open_pull(place, draft)
        change = await pushing.read_change(draft, pull.head_sha)
        count = len(change.commits)
        if not count:
            raise Refused(f"The branch of #{pull.number} has these commits already.", hint="Drop the draft.")
        return Preview(
            f"Push {count} commit{'s'[: count != 1]} to {pull.head_ref} of {pull.head_repository}",
            details=(
                f"{pull.head_sha[:10]} -> {pushing.tip_of(draft)}",
                *pushing.lines_of(change),
            ),
            notes=tuple(pushing.notes_on(change)),
        )  # fmt: skip

    async def find(self, place: Place, draft: Draft) -> Posted | None:
        """Tell whether the branch is at the draft's commit."""
        pull = await place.pull(draft)
        head = await pushing.branch_head(place.repository, _branch(pull))
        return Posted(pull.url) if head == pushing.tip_of(draft) else None

    async def post(self, place: Place, draft: Draft, shown: Preview) -> Posted:
        """Push."""
        pull = await self._open_pull(place, draft)
        await pushing.push(draft, place.repository, _branch(pull), pull.head_sha)
        return Posted(pull.url)

    async def _open_pull(self, place: Place, draft: Draft) -> Pull:
        """Return the pull request. Raises `Refused` when its branch is not to be pushed to."""
        pull = await place.pull(draft)
        if pull.state != "open":
            raise Refused(f"#{pull.number} is {pull.state}.", hint="Drop the draft.")
        if pull.head_repository.lower() != place.slug.lower() and not pull.can_push:
            raise Refused(
                f"{pull.author} does not let maintainers push to the branch of #{pull.number}.",
                hint="Ask for it there (*Allow edits by maintainers*), or push to a branch of your own.",
            )
        return pull


def _branch(pull: Pull) -> pushing.Branch:
    return pushing.Branch(pull.head_repository, pull.head_ref, f"The branch of #{pull.number}")
