"""Labels that a pull request gets and loses."""

from __future__ import annotations

from jobs.errors import Refused
from jobs.forges.pulls import Posted
from jobs.models import Draft
from jobs.outbox.kinds.base import Kind, Place, number_of
from jobs.outbox.label_names import check_labels
from jobs.outbox.preview import Preview


class LabelsKind(Kind):
    """What is to change is compared with the labels as they are."""

    async def prepare(self, place: Place, draft: Draft) -> Preview:
        """List what would change."""
        add, remove = await _pending(place, draft)
        lines = [*(f"add {name}" for name in add), *(f"remove {name}" for name in remove)]
        if not lines:
            raise Refused(f"#{draft.number} has exactly these labels already.", hint="Drop the draft.")
        return Preview(f"Change the labels of #{draft.number}", details=tuple(lines))

    async def find(self, place: Place, draft: Draft) -> Posted | None:
        """Tell whether an earlier attempt has changed all of them."""
        done = not any(await _pending(place, draft))
        return Posted((await place.pull(draft)).url) if done else None

    async def post(self, place: Place, draft: Draft, shown: Preview) -> Posted:
        """Change them."""
        add, remove = await _pending(place, draft)
        return await place.client.change_labels(place.slug, number_of(draft), add, remove)


async def _pending(place: Place, draft: Draft) -> tuple[list[str], list[str]]:
    """Return which labels are still to be given and to be taken."""
    add, remove = check_labels(draft.payload.get("add"), draft.payload.get("remove"))
    there = {name.lower() for name in (await place.pull(draft)).labels}
    return [n for n in add if n.lower() not in there], [n for n in remove if n.lower() in there]
