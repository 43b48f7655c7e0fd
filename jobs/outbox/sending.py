"""Send a draft, once: an attempt first looks whether an earlier one has posted it."""

from __future__ import annotations

import asyncio

from asgiref.sync import sync_to_async

from jobs.errors import ForgeUnreachable, OffloadError, Refused
from jobs.execution.forge_access import open_forge
from jobs.execution.pull_requests import write_details
from jobs.forges.pulls import Event, ForgeClient, LineComment, Pull
from jobs.models import Draft
from jobs.outbox import drafts
from jobs.outbox.placing import PlacedReview, mark_text, place, with_mark
from jobs.states import DraftState

ATTEMPT_SECONDS = 100.0  # less than drafts.SENDING_SECONDS, so that no two attempts overlap
_EVENTS: dict[str, Event] = {
    "COMMENT": "COMMENT", "APPROVE": "APPROVE", "REQUEST_CHANGES": "REQUEST_CHANGES"
}  # fmt: skip


async def prepare_review(draft: Draft) -> PlacedReview:
    """Return the review exactly as it would appear now; posts nothing.

    Raises `Refused` when the head has moved or there is nothing to post, and the forge's errors.
    """
    async with open_forge(draft.repository) as (client, slug):
        return (await _prepare(client, slug, draft))[1]


async def find_posted(draft: Draft) -> str | None:
    """Return the page of a draft that an unfinished attempt has posted, and record it as sent.

    None when none has: the draft is open again. Raises what `send_draft` raises.
    """
    await drafts.begin_sending(draft)
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS), open_forge(draft.repository) as (client, slug):
            posted = await client.find_mark(slug, draft.number, mark_text(draft.mark))
    except BaseException:
        await asyncio.shield(drafts.record_failure(draft, draft.error, posted_nothing=False))
        raise
    if posted is None:
        await drafts.record_failure(draft, draft.error, posted_nothing=True)
        return None
    await drafts.record_sent(draft, posted.url)
    return posted.url


async def send_draft(draft: Draft, shown: PlacedReview) -> str:
    """Post a draft that a person said yes to; return its page. However often it is called, it posts once.

    `shown`: what the person saw. Raises `Refused` when it would appear differently by now, and the forge's
    errors; `ForgeUnreachable` leaves open whether it was posted, and the next call finds out.
    """
    await drafts.begin_sending(draft)
    may_be_posted = draft.state == DraftState.SENDING
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS), open_forge(draft.repository) as (client, slug):
            posted = await client.find_mark(slug, draft.number, mark_text(draft.mark))
            may_be_posted = False
            if posted is None:
                pull, placed = await _prepare(client, slug, draft)
                if placed != shown:
                    raise Refused(
                        f"Draft {draft.id} would appear differently than shown: the pull request changed.",
                        hint=f"See `outbox show {draft.id}`, and send it again.",
                    )
                may_be_posted = True
                body = with_mark(placed.body, draft.mark)
                posted = await client.post_review(
                    slug, pull, draft.head_sha, _EVENTS[draft.verdict], body, placed.comments
                )
    except BaseException as error:
        # What the forge refused is not posted; after a lost answer, a timeout or Ctrl-C it may be.
        nothing = not may_be_posted or isinstance(error, Refused)
        text = str(error) if isinstance(error, OffloadError) else f"Interrupted ({type(error).__name__})."
        await asyncio.shield(drafts.record_failure(draft, text, posted_nothing=nothing))
        if isinstance(error, TimeoutError):
            raise ForgeUnreachable(
                f"Sending draft {draft.id} took longer than {ATTEMPT_SECONDS:g} s; it may be posted.",
                hint="Send it again: it is looked up first.",
            ) from error
        raise
    await drafts.record_sent(draft, posted.url)
    return posted.url


async def _prepare(client: ForgeClient, slug: str, draft: Draft) -> tuple[Pull, PlacedReview]:
    pull = await client.get(slug, draft.number)
    await sync_to_async(write_details)(draft.repository, pull)
    if pull.head_sha != draft.head_sha:
        raise Refused(
            f"The head of #{draft.number} moved from {draft.head_sha[:10]} to {pull.head_sha[:10]} after the "
            "review.",
            hint="Review the new head, and make the draft again; or drop this one.",
        )
    files = await client.files(slug, draft.number)
    comments = [LineComment(str(c["path"]), str(c["body"]), c["line"]) for c in draft.comments]
    # Without known threads (None) nothing is left out.
    placed = place(draft.verdict, draft.body, comments, files, pull.threads or ())
    if not placed.body and not placed.comments:
        raise Refused(f"Draft {draft.id} has nothing to post.", hint="Edit it, or drop it.")
    return pull, placed


async def send_shown(number: int, digest: str) -> Draft:
    """Post a draft, once, as the preview with this digest showed it; return its row.

    Raises `Refused` when it would appear differently by now, otherwise as `send_draft`.
    """
    draft = await drafts.get_draft(str(number))
    if draft.state != DraftState.SENDING or not await find_posted(draft):
        draft = await drafts.get_draft(str(number))
        shown = await prepare_review(draft)
        if shown.digest != digest:
            raise Refused(
                f"Draft {number} would appear differently than shown.",
                hint="Get its preview again, and show it to the person who decides.",
            )
        await send_draft(draft, shown)
    return await drafts.get_draft(str(number))
