"""Send a draft, once: an attempt first looks whether an earlier one has posted it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from jobs.errors import ForgeUnreachable, NotFound, OffloadError, Refused, UsageError
from jobs.execution.forge_access import open_forge
from jobs.forges.pulls import one_line
from jobs.models import Draft, Job, Repository
from jobs.outbox import drafts
from jobs.outbox.kinds import Place, kind_of
from jobs.outbox.preview import Preview
from jobs.states import DraftKind

log = logging.getLogger("offload.outbox")

RULE = "the rule auto_send"  # the actor
ATTEMPT_SECONDS = 100.0  # less than drafts.SENDING_SECONDS, so that no two attempts overlap


class AppearsDifferently(Refused):
    """A draft would be posted differently than a person saw it."""


async def prepare_draft(draft: Draft) -> Preview:
    """Return a draft exactly as it would appear now; posts nothing.

    Raises `Refused` when the head has moved or there is nothing to post, and the forge's errors.
    """
    async with _open(draft.repository) as place:
        return await kind_of(draft).prepare(place, draft)


async def prepare_group(group: Sequence[Draft]) -> list[Preview | OffloadError]:
    """Return the preview of each draft of one repository, or why there is none; posts nothing."""
    found: list[Preview | OffloadError] = []
    if not group:
        return found
    try:
        async with _open(group[0].repository) as place:
            for draft in group:
                try:
                    found.append(await kind_of(draft).prepare(place, draft))
                except Refused as refusal:
                    found.append(refusal)
    except OffloadError as error:
        found += [error] * (len(group) - len(found))
    return found


async def find_posted(draft: Draft, actor: str = "") -> str | None:
    """Return the page of a draft that an unfinished attempt has posted, and record it as sent.

    None when none has: the draft is open again. Raises what `send_draft` raises.
    """
    await drafts.begin_sending(draft)
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS), _open(draft.repository) as place:
            posted = await kind_of(draft).find(place, draft)
    except BaseException:
        await asyncio.shield(drafts.record_failure(draft, draft.error, posted_nothing=False))
        raise
    if posted is None:
        await drafts.record_failure(draft, draft.error, posted_nothing=True)
        return None
    await drafts.record_sent(draft, posted.url, actor)
    return posted.url


async def send_draft(draft: Draft, shown: Preview, actor: str = "") -> str:
    """Post a draft that a person said yes to; return its page. However often it is called, it posts once.

    `shown`: what the person saw. Raises `Refused` when it would appear differently by now, and the forge's
    errors; `ForgeUnreachable` leaves open whether it was posted, and the next call finds out.
    """
    return await _send(draft, shown.digest, actor)


async def apply_rules(auto_send: Collection[str]) -> None:
    """Draft and approve what a person's standing rule names: commit statuses of jobs that just ended.

    `auto_send`: the person's own setting; a repository has none. What cannot be previewed waits for a person.
    """
    if DraftKind.STATUS.value not in auto_send:
        return
    async for job in drafts.jobs_without_status():
        draft = await drafts.make_status(job, RULE)
        try:
            shown = await prepare_draft(await drafts.get_draft(str(draft.id)))
        except OffloadError as error:
            log.warning("Draft %s waits for a person: %s", draft.id, error)
            continue
        await drafts.approve_drafts({draft.id: shown.digest}, RULE)


async def send_group(draft: Draft) -> None:
    """Send the approved drafts of the same pull request, in order, until one fails.

    The failed one says why, and those after it wait for a person. Raises nothing of the forge's errors.
    """
    if await drafts.is_being_sent(draft):
        return
    ids = [row async for row in drafts.group_of(draft).values_list("id", flat=True)]
    waiting = [row async for row in drafts.waiting_groups().filter(id__in=ids)]
    for one in drafts.in_order(waiting):
        try:
            await _send(one, one.approved_digest, one.approved_by)
        except BaseException as error:
            await asyncio.shield(drafts.stop_group(one))
            if not isinstance(error, OffloadError):
                raise
            log.warning("Sending draft %s failed: %s", one.id, error)
            return


async def _send(draft: Draft, digest: str, actor: str) -> str:
    await drafts.begin_sending(draft)
    kind = kind_of(draft)
    may_be_posted, posting = draft.attempted, False
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS), _open(draft.repository) as place:
            posted = await kind.find(place, draft)
            may_be_posted = False
            if posted is None:
                shown = await kind.prepare(place, draft)
                if shown.digest != digest:
                    raise AppearsDifferently(
                        f"Draft {draft.id} would appear differently than shown: the pull request changed.",
                        hint=f"See `outbox show {draft.id}`, and send it again.",
                    )
                may_be_posted = posting = True
                posted = await kind.post(place, draft, shown)
    except BaseException as error:
        # A post that the forge refused is not made; after a lost answer, a timeout or Ctrl-C it may be.
        nothing = not may_be_posted or (posting and isinstance(error, Refused))
        text = str(error) if isinstance(error, OffloadError) else f"Interrupted ({type(error).__name__})."
        holds = not isinstance(error, AppearsDifferently)
        await asyncio.shield(
            drafts.record_failure(draft, text, posted_nothing=nothing, still_approved=holds, actor=actor)
        )
        if isinstance(error, TimeoutError):
            raise ForgeUnreachable(
                f"Sending draft {draft.id} took longer than {ATTEMPT_SECONDS:g} s; it may be posted.",
                hint="Send it again: it is looked up first.",
            ) from error
        raise
    await drafts.record_sent(draft, posted.url, actor)
    return posted.url


async def send_shown(number: int, digest: str, actor: str = "") -> Draft:
    """Post a draft, once, as the preview with this digest showed it; return its row.

    Raises `Refused` when it would appear differently by now, otherwise as `send_draft`.
    """
    draft = await drafts.get_draft(str(number))
    await _send(draft, digest, actor)
    return await drafts.get_draft(str(number))


async def find_thread(job: Job, name: str) -> str:
    """Return the id of a thread of a job's pull request, by its id or its place (`src/a.py:12`, or a path).

    Raises `NotFound`, naming the unresolved ones, and `UsageError` when several are at the place.
    """
    if job.number is None:
        raise Refused(f"{job.target} is not a pull request, so it has no threads.")
    async with _open(job.repository) as place:
        threads = (await place.client.get(place.slug, job.number)).threads or ()
    places = [(f"{t.path}:{t.line}" if t.line else t.path, t) for t in threads]
    found = [t for where, t in places if name in (t.id, where)]
    found = [t for t in found if not t.resolved] or found
    if len(found) == 1:
        return found[0].id
    if found:
        ids = ", ".join(f"{t.id} ({one_line(t.author)})" for t in found)
        raise UsageError(f"{len(found)} threads are at {name}.", hint=f"Name one by its id: {ids}.")
    unresolved = ", ".join(one_line(where) for where, t in places if not t.resolved)
    raise NotFound(
        f"#{job.number} has no thread {name}.", hint=f"Unresolved: {unresolved}." if unresolved else ""
    )


@asynccontextmanager
async def _open(repository: Repository) -> AsyncIterator[Place]:
    async with open_forge(repository, writing=True) as (client, slug):
        yield Place(client, slug, repository)
