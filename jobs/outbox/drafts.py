"""Drafts as rows: make, list, edit, drop, and the states of sending. The only writer of `Draft`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from jobs.errors import NotFound, Refused, UsageError
from jobs.models import Draft, Job
from jobs.outbox.placing import LONGEST, defuse
from jobs.states import DraftKind, DraftState

# Longer than one attempt may take; after a crash the next attempt waits as long.
SENDING_SECONDS = 120.0
MOST_COMMENTS = 50
_UNSENT = (DraftState.OPEN.value, DraftState.SENDING.value)


async def make_review(job: Job, verdict: str, actor: str) -> Draft:
    """Make a draft of a review from a job's assessment and findings. Nothing is posted.

    An opinion of an agent, whose place was not verified, is in the text only.

    An unsent draft of the same job is replaced when no attempt to send it was made. `verdict`: `COMMENT`,
    `APPROVE` or `REQUEST_CHANGES`; the person's, not the job's. Raises `Refused`.
    """
    if job.number is None:
        raise Refused(f"{job.target} is not a pull request, so it has no review.")
    if not job.assessment or not job.sha:
        raise Refused(
            f"{job.session} has no assessment: it is {job.state}.", hint="Wait until the review has ended."
        )
    comments = [
        {
            "path": str(finding["file"]),
            "line": int(finding["line"]) if finding.get("line") else None,
            "body": defuse(str(finding.get("message", "")))[:LONGEST],
        }
        for finding in job.findings
        if finding.get("file") and not finding.get("opinion")
    ]
    await Draft.objects.filter(job=job, state=DraftState.OPEN.value).aupdate(state=DraftState.DROPPED.value)
    return await Draft.objects.acreate(
        repository=job.repository, job=job, number=job.number, kind=DraftKind.REVIEW.value, verdict=verdict,
        body=defuse(job.assessment)[:LONGEST], comments=comments[:MOST_COMMENTS], head_sha=job.sha,
        mark=secrets.token_hex(16), actor=actor,
    )  # fmt: skip


async def list_drafts() -> Sequence[Draft]:
    """Return the drafts that were neither sent nor dropped."""
    drafts = Draft.objects.select_related("repository", "job").filter(state__in=_UNSENT)
    return [draft async for draft in drafts]


async def get_draft(number: str) -> Draft:
    """Return a draft by its number. Raises `NotFound`, `UsageError`."""
    if not number.isascii() or not number.isdecimal() or len(number) > 12:
        raise UsageError(f"{number!r} is not the number of a draft.", hint="`outbox ls` lists them.")
    draft = await Draft.objects.select_related("repository", "job").filter(id=int(number)).afirst()
    if draft is None:
        raise NotFound(f"There is no draft {number}.", hint="`outbox ls` lists them.")
    return draft


async def edit_draft(draft: Draft, body: str) -> None:
    """Replace the text of a draft. Raises `Refused` once an attempt to send it was made, `UsageError`."""
    if len(body) > LONGEST:
        raise UsageError(f"The text has {len(body)} characters; a forge takes {LONGEST}.")
    await _move(draft, "edited", (DraftState.OPEN.value,), body=body)


async def drop_draft(draft: Draft) -> None:
    """Drop a draft, so that it is never sent. Raises `Refused` when it was sent, or may have been."""
    await _move(draft, "dropped", (DraftState.OPEN.value,), state=DraftState.DROPPED.value)


async def begin_sending(draft: Draft) -> None:
    """Give this process the right to send. Raises `Refused` when it is not to be sent now."""
    now = timezone.now()
    not_being_sent = Q(sending_until=None) | Q(sending_until__lt=now)
    free = Draft.objects.filter(not_being_sent, id=draft.id, state__in=_UNSENT)
    until = now + timedelta(seconds=SENDING_SECONDS)
    # The text must be the one that was shown.
    shown = free.filter(body=draft.body, verdict=draft.verdict, head_sha=draft.head_sha)
    if not await shown.aupdate(state=DraftState.SENDING.value, sending_until=until, error=""):
        raise Refused(
            f"Draft {draft.id} cannot be sent now: it was sent, dropped or changed, or is being sent.",
            hint=f"See `outbox show {draft.id}`.",
        )


async def record_sent(draft: Draft, url: str) -> None:
    """Record that the draft is posted."""
    await Draft.objects.filter(id=draft.id).aupdate(
        state=DraftState.SENT.value, url=url, sent_at=timezone.now(), sending_until=None, error=""
    )


async def record_failure(draft: Draft, error: str, *, posted_nothing: bool) -> None:
    """Record why an attempt failed. `posted_nothing`: it is certain, and the draft can be edited again."""
    state = DraftState.OPEN if posted_nothing else DraftState.SENDING
    await Draft.objects.filter(id=draft.id).aupdate(state=state.value, error=error, sending_until=None)


async def _move(draft: Draft, what: str, sources: tuple[str, ...], **columns: Any) -> None:
    if not await Draft.objects.filter(id=draft.id, state__in=sources).aupdate(**columns):
        await draft.arefresh_from_db(fields=["state"])
        raise Refused(
            f"Draft {draft.id} cannot be {what}: it is {draft.state}.",
            hint="Send it again to learn whether it was posted." if draft.state == DraftState.SENDING else "",
        )
