"""Pull requests as rows: read from the forge, kept, and shown from here. The only writer of `PullRequest`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from jobs.errors import NotFound, Refused
from jobs.execution.forge_access import open_forge
from jobs.forges.ci_log import CiFailure, distil
from jobs.forges.pulls import Check, Comment, Pull, Review, Rules, Thread, one_line
from jobs.models import Job, PullRequest, Repository

FRESH_SECONDS = 60.0
FRESH_BASE = timedelta(hours=1)
OLD_DETAILS = timedelta(minutes=15)
MOST_DETAILS = 20
MOST_LOGS = 5  # that one command reads
MOST_THREAD_TEXT = 256 * 1024  # characters of all threads of a row
LONGEST_COMMENT = 8 * 1024
MOST_LISTED = 900  # a longer list may have been cut, and says nothing about what it lacks
# The forge's words for how a check ended, where "failed" does not say it.
_SAID = {
    "cancelled": "was cancelled",
    "timed_out": "ran out of time",
    "action_required": "waits for a person",
    "startup_failure": "could not start",
    "stale": "was given up by the forge",
}
_LISTED = (
    "title", "author", "state", "draft", "url", "labels", "base_ref", "head_ref", "head_repository",
    "head_sha", "updated_at", "fetched_at",
)  # fmt: skip


async def refresh_pulls(repository: Repository, *, at_once: bool = False) -> None:
    """Read the open pull requests from the forge unless that was done within a minute. Raises its errors."""
    rows = PullRequest.objects.filter(repository=repository, state="open")
    last = (await rows.aaggregate(last=Max("fetched_at")))["last"]
    if not at_once and last is not None and last > timezone.now() - timedelta(seconds=FRESH_SECONDS):
        return
    async with open_forge(repository) as (client, slug):
        pulls = await client.list_open(slug)
    await sync_to_async(_write_list)(repository, pulls)


async def refresh_pull(repository: Repository, number: int, *, at_once: bool = False) -> None:
    """Read one pull request with its details from the forge unless that was done within a minute.

    While the forge has not computed whether it can be merged, each call asks. Raises the forge's errors.
    """
    old = timezone.now() - timedelta(seconds=FRESH_SECONDS)
    known = PullRequest.objects.filter(repository=repository, number=number, details_at__gt=old)
    known = known.filter(details_sha=F("head_sha")).exclude(mergeable="unknown", state="open")
    if not at_once and await known.aexists():
        return
    async with open_forge(repository) as (client, slug):
        pull = await client.get(slug, number)
    await sync_to_async(write_details)(repository, pull)


async def read_failures(repository: Repository, number: int) -> None:
    """Read the logs of failed checks that were not read yet, required ones first, and keep what matters.

    What a CI job logged does not change: each log is read once. A log that the forge does not give is kept
    as a note; raises only what concerns all of them: `ForgeUnreachable`, `NotConfigured`.
    """
    row = await PullRequest.objects.filter(repository=repository, number=number).afirst()
    if row is None:
        return
    wanted = [
        check for check in checks_of(row)
        if check.outcome == "failure" and check.log is not None and str(check.log) not in row.failures
    ]  # fmt: skip
    wanted.sort(key=lambda check: not check.required)
    if not wanted:
        return
    async with open_forge(repository) as (client, slug):
        for check in wanted[:MOST_LOGS]:
            try:
                log = await client.log(slug, int(check.log or 0))
                failure = await asyncio.to_thread(distil, log, said=check.said)
            except NotFound:
                failure = CiFailure(note="The forge keeps no log of it, or does not show it to this token.")
            except Refused as error:
                failure = CiFailure(note=error.message)
            await sync_to_async(_add_failure)(row.id, str(check.log), asdict(failure))


@transaction.atomic
def _add_failure(row_id: int, log: str, failure: dict[str, Any]) -> None:
    row = PullRequest.objects.select_for_update().get(id=row_id)
    logs = {str(check["log"]) for check in row.checks}
    kept = {key: one for key, one in row.failures.items() if key in logs}
    PullRequest.objects.filter(id=row_id).update(failures=kept | {log: failure})


def failure_of(row: PullRequest, check: Check) -> CiFailure | None:
    """Return what the log of a check says; None when it was not read."""
    kept = row.failures.get(str(check.log))
    if not kept:
        return None
    return CiFailure(**kept | {"tests": tuple(kept["tests"]), "lines": tuple(kept["lines"])})


async def refresh_inbox(repository: Repository) -> None:
    """Read the open pull requests, and those with a job in detail when that was long ago or the head moved.

    Details are read while more than half of the requests of this hour are left: the rest is for commands.
    Raises the forge's errors.
    """
    await refresh_pulls(repository)
    old = Q(details_at=None) | Q(details_at__lt=timezone.now() - OLD_DETAILS) | ~Q(details_sha=F("head_sha"))
    jobs = Job.objects.filter(
        repository=OuterRef("repository"), number=OuterRef("number"), removed_at__isnull=True
    )
    rows = PullRequest.objects.filter(old, Exists(jobs), repository=repository, state="open")
    numbers = [number async for number in rows.values_list("number", flat=True)[:MOST_DETAILS]]
    async with open_forge(repository) as (client, slug):
        for number in numbers:
            if client.limit is not None and client.limit.remaining <= client.limit.limit // 2:
                return
            pull = await client.get(slug, number)
            await sync_to_async(write_details)(repository, pull)


def base_of(repository: Repository, number: int) -> str:
    """Return the base branch of a pull request; "" when the forge was not asked for it within the hour.

    The name comes from the forge: it is only compared with names that git lists.
    """
    rows = PullRequest.objects.filter(repository=repository, number=number)
    row = rows.filter(fetched_at__gt=timezone.now() - FRESH_BASE).first()
    return row.base_ref if row else ""


def what_blocks(row: PullRequest) -> list[str]:
    """Return what is in the way of merging, as sentences; empty when nothing is known to be."""
    return [one_line(text) for text in _blocks(row)]


def _blocks(row: PullRequest) -> list[str]:
    if row.state != "open":
        return [f"It is {row.state}."]
    if row.details_at is None:
        return ["Its details were not read yet."]
    found = []
    if row.details_sha != row.head_sha:
        found.append("Its head moved after the details were read.")
    if row.draft:
        found.append("It is a draft.")
    if row.mergeable == "no":
        found.append(f"It has conflicts with {row.base_ref}.")
    elif row.mergeable == "unknown":
        found.append("The forge has not computed yet whether it can be merged.")
    rules, checks = rules_of(row), checks_of(row)
    for outcome, words in (("failure", "failed"), ("pending", "is not finished")):
        for check in checks:
            if check.outcome == outcome and check.required is not False:
                kind = "The required check" if check.required else "The check"
                found.append(f"{kind} {check.name} {_SAID.get(check.said, words)}.")
    reported = {check.name for check in checks}
    found += [f"The required check {name} has not reported." for name in rules.checks if name not in reported]
    found += _reviews_that_block(row, rules)
    if row.merge_state == "behind":
        found.append(f"It is behind {row.base_ref}, and the branch rules want it up to date.")
    elif row.merge_state == "blocked" and not found:
        found.append("A branch rule blocks it, which the forge does not name.")
    if row.unresolved_threads:
        plural = "s are" if row.unresolved_threads > 1 else " is"
        wanted = ", which a branch rule wants" if rules.resolved_threads else ""
        found.append(f"{row.unresolved_threads} thread{plural} not resolved{wanted}.")
    return found


def what_is_unknown(row: PullRequest) -> list[str]:
    """Return what the forge did not tell although it can be in the way of merging, as sentences."""
    if row.details_at is None:
        return []
    parts = {"threads": row.threads, "reviews": row.reviews, "branch rules": row.rules}
    missing = [name for name, known in parts.items() if known is None]
    if not missing:
        return []
    told = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]])).capitalize()
    return [f"{told} were not read: the forge tells them only to a token that may see them."]


def checks_of(row: PullRequest) -> list[Check]:
    """Return the checks of the commit `details_sha`."""
    return [Check(**check) for check in row.checks]


def threads_of(row: PullRequest) -> list[Thread] | None:
    """Return the unresolved threads, the texts of long ones cut; None when they are unknown."""
    if row.threads is None:
        return None
    return [
        Thread(**thread | {"comments": tuple(Comment(**comment) for comment in thread["comments"])})
        for thread in row.threads
    ]


def rules_of(row: PullRequest) -> Rules:
    """Return the branch rules as far as they are known."""
    return Rules(**row.rules | {"checks": tuple(row.rules["checks"])}) if row.rules else Rules()


def _reviews_that_block(row: PullRequest, rules: Rules) -> list[str]:
    reviews = [Review(**review) for review in row.reviews or ()]
    if row.review_decision == "changes_requested":
        found = []
        for review in reviews:
            if review.state == "changes_requested":
                old = " of an older head" if review.sha and review.sha != row.head_sha else ""
                found.append(f"{review.author or 'A reviewer'} requested changes{old}.")
        return found or ["A reviewer requested changes."]
    if row.review_decision != "review_required":
        return []
    given = sum(review.state == "approved" for review in reviews)
    wanted = [f"{rules.approvals} approvals are wanted, and {given} given"] if rules.approvals > 1 else []
    wanted += ["a code owner's counts"] if rules.code_owners else []
    return [f"A required review is missing{': ' if wanted else ''}{'; '.join(wanted)}."]


def _kept_threads(threads: tuple[Thread, ...]) -> list[dict[str, Any]]:
    """Return the unresolved threads as a row keeps them: no text is longer than a page can hold."""
    found, left = [], MOST_THREAD_TEXT
    for thread in threads:
        if thread.resolved:
            continue
        kept = asdict(thread)
        for comment in kept["comments"]:
            comment["body"] = comment["body"][: min(LONGEST_COMMENT, max(left, 0))]
            left -= len(comment["body"])
        found.append(kept)
    return found


def _write_list(repository: Repository, pulls: list[Pull]) -> None:
    rows = [PullRequest(repository=repository, number=pull.number, **_listed(pull)) for pull in pulls]
    with transaction.atomic():
        PullRequest.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["repository", "number"], update_fields=list(_LISTED)
        )
        if len(pulls) < MOST_LISTED:
            gone = PullRequest.objects.filter(repository=repository, state="open")
            gone.exclude(number__in=[pull.number for pull in pulls]).update(state="closed")


def write_details(repository: Repository, pull: Pull) -> PullRequest:
    """Keep what was read of one pull request; return its row."""
    threads = pull.threads
    details: dict[str, Any] = {
        "details_at": timezone.now(),
        "details_sha": pull.head_sha,
        "mergeable": pull.mergeable,
        "merge_state": pull.merge_state,
        "review_decision": pull.review_decision,
        "can_push": pull.can_push,
        "additions": pull.additions,
        "deletions": pull.deletions,
        "changed_files": pull.changed_files,
        "linked_issues": list(pull.linked_issues),
        "checks": [asdict(check) for check in pull.checks],
        "base_sha": pull.base_sha,
        "threads": None if threads is None else _kept_threads(threads),
        "reviews": None if pull.reviews is None else [asdict(review) for review in pull.reviews],
        "rules": asdict(pull.rules) if pull.rules else None,
        "unresolved_threads": None if threads is None else sum(not thread.resolved for thread in threads),
    }
    row, _ = PullRequest.objects.update_or_create(
        repository=repository, number=pull.number, defaults=_listed(pull) | details
    )
    return row


def _listed(pull: Pull) -> dict[str, Any]:
    try:
        updated = parse_datetime(pull.updated_at)
    except ValueError:
        updated = None
    values = {
        name: getattr(pull, name) for name in _LISTED if name not in ("labels", "updated_at", "fetched_at")
    }
    return values | {"labels": list(pull.labels), "updated_at": updated, "fetched_at": timezone.now()}
