"""Drafts as rows: make, list, edit, drop, and the states of sending. The only writer of `Draft`."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from jobs.errors import NotFound, Refused, UsageError
from jobs.models import Draft, Job, JobEvent
from jobs.outbox.label_names import check_labels
from jobs.outbox.placing import LONGEST, TITLES, defuse
from jobs.states import DraftKind, DraftState, JobState, Verdict

# Longer than one attempt may take; after a crash the next attempt waits as long.
SENDING_SECONDS = 120.0
MOST_COMMENTS = 50
STATUS_WITHIN = timedelta(hours=1)
_SEVERITIES = ("error", "warning", "note")
_UNSENT = (DraftState.OPEN.value, DraftState.APPROVED.value, DraftState.SENDING.value)
# The order in which the drafts of one pull request are sent: a review is about the commit before a push.
ORDER = tuple(kind.value for kind in DraftKind)
ALWAYS = Q()


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
    _require_pushed(job)
    comments = [
        {
            "path": str(finding["file"]),
            "line": int(finding["line"]) if finding.get("line") else None,
            "body": defuse(str(finding.get("message", "")))[:LONGEST],
        }
        for finding in job.findings
        if finding.get("file") and not finding.get("opinion")
    ]
    return await make_draft(
        job, DraftKind.REVIEW, actor, verdict=verdict, body=defuse(job.assessment)[:LONGEST],
        comments=comments[:MOST_COMMENTS],
    )  # fmt: skip


async def make_status(job: Job, actor: str) -> Draft:
    """Make a draft of a commit status from a job's verdict. Nothing is posted. Raises `Refused`.

    Its text counts the findings: no word of it is the job's.
    """
    if not job.verdict or not job.sha:
        raise Refused(f"{job.session} has no verdict: it is {job.state}.", hint="Wait until it has ended.")
    _require_pushed(job)
    counts = Counter(str(finding.get("severity")) for finding in job.findings)
    words = [f"{counts[name]} {name}{'s'[: counts[name] != 1]}" for name in _SEVERITIES if counts[name]]
    state = "success" if job.verdict == Verdict.PASS else "failure"
    return await make_draft(
        job, DraftKind.STATUS, actor, payload={"context": f"offload/{job.action}", "state": state},
        body=f"{job.verdict.replace('_', ' ')}: {', '.join(words) or 'nothing was found'}",
    )  # fmt: skip


async def make_reply(job: Job, thread: str, body: str, actor: str, *, resolve: bool = False) -> Draft:
    """Make a draft of an answer to a thread of a job's pull request. Nothing is posted. Raises `Refused`.

    `thread`: as the forge names it; an open answer of the same job to it is replaced.
    """
    if job.number is None:
        raise Refused(f"{job.target} is not a pull request, so it has no threads.")
    payload = {"thread": thread, "resolve": resolve}
    same = Q(payload__thread=thread)
    return await make_draft(job, DraftKind.REPLY, actor, same, body=defuse(body)[:LONGEST], payload=payload)


def _require_pushed(job: Job) -> None:
    """Raise `Refused` when the verdict of a job is about a commit that the forge does not have."""
    if job.fixed_sha:
        if job.options.get("issue"):
            raise Refused(
                f"The verdict of {job.session} is about {job.fixed_sha[:10]}, which is not pushed.",
                hint=f"Open a pull request for it: `offload outbox pull {job.session}`.",
            )
        raise Refused(
            f"The verdict of {job.session} is about its fix {job.fixed_sha[:10]}, which is not pushed.",
            hint=f"Push it first: `offload outbox push {job.session}`. Then review {job.target} again.",
        )


async def make_labels(job: Job, add: Sequence[str], remove: Sequence[str], actor: str) -> Draft:
    """Make a draft of changing the labels of a job's pull request. Nothing is changed yet.

    Raises `Refused` without a pull request, `UsageError` for names that are none.
    """
    if job.number is None:
        raise Refused(f"{job.target} is not a pull request, so it has no labels.")
    add, remove = check_labels(add, remove)
    return await make_draft(job, DraftKind.LABELS, actor, payload={"add": add, "remove": remove})


def jobs_without_status() -> QuerySet[Job]:
    """Return the jobs of pull requests that got a verdict within the hour, and no draft of a status since."""
    made = Draft.objects.filter(
        job=OuterRef("pk"), kind=DraftKind.STATUS.value, created_at__gte=OuterRef("finished_at")
    )
    recent = Job.objects.filter(~Exists(made), finished_at__gt=timezone.now() - STATUS_WITHIN)
    judged = recent.filter(state=JobState.SUCCEEDED, number__isnull=False).exclude(verdict="").exclude(sha="")
    judged = judged.filter(judged_sha__in=("", F("sha")))
    return judged.select_related("repository")


@sync_to_async
def make_draft(job: Job, kind: DraftKind, actor: str, same: Q = ALWAYS, **columns: Any) -> Draft:
    """Make a draft of a job. An open one of the same job and kind, and of `same`, is dropped."""
    with transaction.atomic():
        earlier = Draft.objects.filter(same, job=job, kind=kind.value, state=DraftState.OPEN.value)
        earlier.update(state=DraftState.DROPPED.value)
        values = {"number": job.number, "head_sha": job.sha, "mark": secrets.token_hex(16)} | columns
        draft = Draft.objects.create(
            repository=job.repository, job=job, kind=kind.value, actor=actor, **values
        )
        _note(draft, "made", actor)
    return draft


async def list_drafts() -> Sequence[Draft]:
    """Return the drafts that were neither sent nor dropped."""
    drafts = Draft.objects.select_related("repository", "job").filter(state__in=_UNSENT)
    return [draft async for draft in drafts]


def count_drafts() -> int:
    """Return how many drafts were neither sent nor dropped."""
    return Draft.objects.filter(state__in=_UNSENT).count()


async def get_draft(number: str) -> Draft:
    """Return a draft by its number. Raises `NotFound`, `UsageError`."""
    if not number.isascii() or not number.isdecimal() or len(number) > 12:
        raise UsageError(f"{number!r} is not the number of a draft.", hint="`outbox ls` lists them.")
    draft = await Draft.objects.select_related("repository", "job").filter(id=int(number)).afirst()
    if draft is None:
        raise NotFound(f"There is no draft {number}.", hint="`outbox ls` lists them.")
    return draft


def group_of(draft: Draft) -> QuerySet[Draft]:
    """Return the drafts of the same pull request; of the same job, when there is no pull request yet."""
    if draft.number is not None:
        return Draft.objects.filter(repository_id=draft.repository_id, number=draft.number)
    return Draft.objects.filter(job=draft.job, repository_id=draft.repository_id, number=None)


def in_order(drafts: Sequence[Draft]) -> list[Draft]:
    """Return drafts in the order in which they are sent."""
    return sorted(drafts, key=lambda draft: (ORDER.index(draft.kind), draft.id))


async def list_group(draft: Draft) -> list[Draft]:
    """Return the unsent drafts of the same pull request and this one, in the order of sending."""
    rows = group_of(draft).select_related("repository", "job")
    return in_order([row async for row in rows.filter(Q(state__in=_UNSENT) | Q(id=draft.id))])


async def edit_draft(
    draft: Draft,
    body: str,
    actor: str = "",
    *,
    verdict: str | None = None,
    comments: Sequence[str] | None = None,
) -> None:
    """Replace the text of a draft. `comments`: the texts of its comments; an empty one leaves it out.

    `draft.revision` is the one whose texts were edited. Raises `Refused` once an attempt to send it was made,
    or when it was changed since that revision; `UsageError`.
    """
    for text in (body, *(comments or ())):
        if len(text) > LONGEST:
            raise UsageError(f"The text has {len(text)} characters; a forge takes {LONGEST}.")
    columns: dict[str, Any] = {"body": body}
    if verdict is not None:
        if verdict not in TITLES or draft.kind != DraftKind.REVIEW:
            raise UsageError(f"{verdict!r} is no verdict of a {draft.kind}.")
        columns["verdict"] = verdict
    if comments is not None:
        if len(comments) != len(draft.comments):
            if await Draft.objects.filter(id=draft.id, revision=draft.revision).aexists():
                raise UsageError(f"Draft {draft.id} has {len(draft.comments)} comments, not {len(comments)}.")
            raise Refused(f"Draft {draft.id} cannot be edited: its comments were changed meanwhile.")
        pairs = zip(draft.comments, comments, strict=True)
        columns["comments"] = [{**comment, "body": text} for comment, text in pairs if text]
    if draft.kind == DraftKind.REVIEW and not body and not columns.get("comments", draft.comments):
        raise UsageError(f"Draft {draft.id} would be empty.", hint="Drop it instead.")
    columns |= {"revision": draft.revision + 1, "approved_digest": "", "error": ""}
    await _move(draft, "edited", actor, Q(state=DraftState.OPEN.value, revision=draft.revision), **columns)


async def drop_draft(draft: Draft, actor: str = "") -> None:
    """Drop a draft, so that it is never sent. Raises `Refused` when it was sent, or may have been."""
    await _move(draft, "dropped", actor, Q(state=DraftState.OPEN.value), state=DraftState.DROPPED.value)


async def approve_drafts(digests: Mapping[int, str], actor: str) -> list[Draft]:
    """Record a person's yes to drafts, each by the digest of the preview that they saw; return those drafts.

    The reconciler sends them. One that is no longer open stays as it is.
    """
    return await _approve(
        Q(id__in=list(digests), state=DraftState.OPEN.value), actor, lambda draft: digests[draft.id]
    )


async def resume_group(draft: Draft, actor: str) -> list[Draft]:
    """Send what a person said yes to and an attempt did not finish; return those drafts.

    Their yes holds: what was posted is looked up, and the rest is sent if it still appears as they saw it.
    """
    ids = [row async for row in group_of(draft).values_list("id", flat=True)]
    stopped = Q(state=DraftState.OPEN.value) | Q(state=DraftState.SENDING.value) & _not_being_sent()
    return await _approve(
        stopped & Q(id__in=ids) & ~Q(approved_digest=""), actor, lambda d: d.approved_digest
    )


@sync_to_async
def _approve(which: Q, actor: str, digest: Any) -> list[Draft]:
    approved = []
    for draft in Draft.objects.filter(which):
        with transaction.atomic():
            moved = Draft.objects.filter(which, id=draft.id, revision=draft.revision).update(
                state=DraftState.APPROVED.value, approved_digest=digest(draft), approved_by=actor, error=""
            )
            if moved:
                _note(draft, "approved", actor)
                approved.append(draft)
    return approved


def waiting_groups() -> QuerySet[Draft]:
    """Return drafts that the reconciler is to send: approved ones, and those whose sender died."""
    died = Q(state=DraftState.SENDING.value, error="", sending_until__lt=timezone.now())
    waiting = Q(state=DraftState.APPROVED.value) | died & ~Q(approved_digest="")
    return Draft.objects.select_related("repository", "job").filter(waiting)


async def is_being_sent(draft: Draft) -> bool:
    """Tell whether a process sends a draft of the same pull request now."""
    return await group_of(draft).filter(~_not_being_sent(), state=DraftState.SENDING.value).aexists()


async def begin_sending(draft: Draft) -> None:
    """Give this process the right to send. Raises `Refused` when it is not to be sent now."""
    now = timezone.now()
    until = now + timedelta(seconds=SENDING_SECONDS)
    free = Draft.objects.filter(_not_being_sent(), id=draft.id, state__in=_UNSENT)
    # The text must be the one that was shown.
    shown = free.filter(revision=draft.revision)
    if not await shown.aupdate(state=DraftState.SENDING.value, sending_until=until, error="", attempted=True):
        raise Refused(
            f"Draft {draft.id} cannot be sent now: it was sent, dropped or changed, or is being sent.",
            hint=f"See `outbox show {draft.id}`.",
        )


async def record_sent(draft: Draft, url: str, actor: str) -> None:
    """Record that the draft is posted."""
    await _record(
        draft, "sent", actor, state=DraftState.SENT.value, url=url, sent_at=timezone.now(),
        sending_until=None, error="",
    )  # fmt: skip


async def record_failure(
    draft: Draft, error: str, *, posted_nothing: bool, still_approved: bool = True, actor: str = ""
) -> None:
    """Record why an attempt failed. `posted_nothing`: it is certain, and the draft can be edited again.

    `still_approved`: whether the yes of a person holds for the next attempt.
    """
    state = DraftState.OPEN if posted_nothing else DraftState.SENDING
    columns: dict[str, Any] = {} if still_approved else {"approved_digest": ""}
    await _record(
        draft, "failed", actor, state=state.value, error=error, sending_until=None,
        attempted=not posted_nothing, **columns,
    )  # fmt: skip


async def stop_group(draft: Draft) -> None:
    """Return the approved drafts that would follow a failed one to a person."""
    rest = group_of(draft).filter(state=DraftState.APPROVED.value)
    error = f"Not sent, because draft {draft.id} failed before it."
    await rest.filter(attempted=False).aupdate(state=DraftState.OPEN.value, error=error)
    await rest.filter(attempted=True).aupdate(state=DraftState.SENDING.value, error=error)


def _not_being_sent() -> Q:
    return Q(sending_until=None) | Q(sending_until__lt=timezone.now())


async def _move(draft: Draft, what: str, actor: str, which: Q, **columns: Any) -> None:
    if not await _record(draft, what, actor, which, **columns):
        await draft.arefresh_from_db(fields=["state"])
        changed = "changed meanwhile" if draft.state == DraftState.OPEN else draft.state
        raise Refused(
            f"Draft {draft.id} cannot be {what}: it is {changed}.",
            hint="Send it again to learn whether it was posted." if draft.state == DraftState.SENDING else "",
        )


@sync_to_async
def _record(draft: Draft, what: str, actor: str, which: Q = ALWAYS, **columns: Any) -> bool:
    with transaction.atomic():
        moved = Draft.objects.filter(which, id=draft.id).update(**columns)
        if moved:
            _note(draft, what, actor)
    return bool(moved)


def _note(draft: Draft, what: str, actor: str) -> None:
    """Write the event by which open pages follow."""
    if draft.job_id is not None:
        data = {"draft": draft.id, "kind": draft.kind, "state": what}
        JobEvent.objects.create(job_id=draft.job_id, kind="draft", actor=actor, data=data)
