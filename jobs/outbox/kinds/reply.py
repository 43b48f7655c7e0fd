"""An answer to a thread, and its resolution."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import Refused, UsageError
from jobs.forges.pulls import Posted
from jobs.models import Draft
from jobs.outbox.kinds.base import Kind, Place, number_of
from jobs.outbox.placing import mark_text, with_mark
from jobs.outbox.preview import Preview

MOST_QUOTED = 3


@dataclass(frozen=True)
class ReplyPayload:
    """The thread to answer, by the forge's id, and whether to resolve it."""

    thread: str
    resolve: bool


def read_reply(draft: Draft) -> ReplyPayload:
    """Return what a draft answers. Raises `UsageError` for a payload that is no answer."""
    thread, resolve = draft.payload.get("thread"), draft.payload.get("resolve")
    if not isinstance(thread, str) or not 0 < len(thread) <= 200 or not isinstance(resolve, bool):
        raise UsageError(f"Draft {draft.id} is no answer.", hint="Drop it, and make it again.")
    return ReplyPayload(thread, resolve)


class ReplyKind(Kind):
    """An answer shown with the end of the thread: when it goes on, the person is asked again."""

    async def prepare(self, place: Place, draft: Draft) -> Preview:
        """Find the thread, and quote what is answered."""
        reply = read_reply(draft)
        threads = (await place.pull(draft)).threads or ()
        thread = next((thread for thread in threads if thread.id == reply.thread), None)
        if thread is None:
            raise Refused(f"#{draft.number} has no such thread any more.", hint="Drop the draft.")
        if not draft.body.strip():
            raise Refused(f"Draft {draft.id} has nothing to post.", hint="Edit it, or drop it.")
        where = f"{thread.path}:{thread.line}" if thread.line else thread.path
        return Preview(
            f"Answer to {where}{', and resolve it' if reply.resolve else ''}", draft.body,
            quote="\n\n".join(f"{c.author}: {c.body}" for c in thread.comments[-MOST_QUOTED:]),
            notes=("The thread is resolved already.",) if thread.resolved else (),
        )  # fmt: skip

    async def find(self, place: Place, draft: Draft) -> Posted | None:
        """Return the answer of an earlier attempt; a resolution that it left undone is made up for."""
        reply, mark, number = read_reply(draft), mark_text(draft.mark), number_of(draft)
        posted = await place.client.find_reply(place.slug, number, reply.thread, mark)
        if posted is None or not reply.resolve:
            return posted
        return await place.client.post_reply(place.slug, number, reply.thread, "", mark, resolve=True)

    async def post(self, place: Place, draft: Draft, shown: Preview) -> Posted:
        """Post the answer, then resolve the thread."""
        reply, body = read_reply(draft), with_mark(shown.body, draft.mark)
        return await place.client.post_reply(
            place.slug, number_of(draft), reply.thread, body, mark_text(draft.mark), resolve=reply.resolve
        )
