"""Read what a forge says of a job's pull request, for its playbook: here, because a worker has no token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from asgiref.sync import sync_to_async
from django.utils import timezone

from jobs.errors import ForgeUnreachable, NotConfigured, NotFound, OffloadError
from jobs.execution.forge_access import open_forge
from jobs.execution.pull_requests import (
    checks_of,
    failure_of,
    read_failures,
    refresh_pull,
    threads_of,
    what_blocks,
    what_is_unknown,
)
from jobs.forges import pulls as forge
from jobs.forges import registry
from jobs.models import Job, PullRequest
from jobs.playbooks import registry as playbooks
from jobs.playbooks.forge_facts import FailedCheck, ForgeFacts, IssueFacts, OpenThread, RelatedIssue

SECONDS = 60.0
# A forge computes in the background whether a pull request can be merged: pauses before asking again.
ASK_AGAIN = (1.0, 2.0, 4.0, 8.0)
_TITLE = 200
_MOST_SAID = 4000  # characters of a comment, or of a parent or child of an issue


async def read_forge_facts(job: Job) -> ForgeFacts | None:
    """Return what the forge says of a job's pull request now; None when its playbook needs none of it.

    It never fails: what could not be read is said in the answer.
    """
    if not playbooks.get(job.action).needs_forge:
        return None
    if job.number is None:
        return ForgeFacts(why_not=f"{job.target} is not a pull request")
    repository = job.repository
    if not registry.has_client(repository.forge):
        return ForgeFacts(why_not=f"the repository {repository.slug} is on no forge that Offload can ask")
    try:
        async with asyncio.timeout(SECONDS):
            row = await _read(job, job.number)
    except TimeoutError:
        return ForgeFacts(why_not=f"the forge did not answer within {SECONDS:g} s", failed_to_read=True)
    except OffloadError as error:
        return ForgeFacts(why_not=error.message.rstrip("."), failed_to_read=True)
    notes = []
    try:
        async with asyncio.timeout(SECONDS):
            await read_failures(repository, job.number)
    except (TimeoutError, OffloadError) as error:
        notes.append(f"Logs of failed checks could not be read: {str(error) or 'no answer in time.'}")
    await row.arefresh_from_db()
    return await sync_to_async(_facts)(row, notes)


async def read_issue(job: Job) -> IssueFacts | None:
    """Return the issue that a job implements, as its forge has it now; None when its playbook needs none.

    What the user wrote stands for it where it cannot be read. Raises what the forge's client raises.
    """
    if not playbooks.get(job.action).needs_issue:
        return None
    number, asked = int(job.options["issue"]), str(job.options.get("prompt") or "")
    title = next((line.strip() for line in asked.splitlines() if line.strip()), "")
    written = IssueFacts(number, title[:_TITLE], asked)
    if not registry.has_client(job.repository.forge):
        return written
    try:
        async with asyncio.timeout(SECONDS), open_forge(job.repository) as (client, slug):
            found = await client.issue(slug, number)
    except TimeoutError:
        raise ForgeUnreachable(
            f"The issue #{number} could not be read within {SECONDS:g} s.", hint="Try again."
        ) from None
    except (NotFound, NotConfigured):
        if asked:
            return written
        raise
    return IssueFacts(
        number, found.title, found.body, found.author, found.url, found.state, found.labels,
        tuple((one.author, one.body[:_MOST_SAID]) for one in found.comments),
        _related(found.parents), _related(found.children),
    )  # fmt: skip


def _related(issues: Sequence[forge.RelatedIssue]) -> tuple[RelatedIssue, ...]:
    return tuple(RelatedIssue(one.reference, one.title, one.state, one.body[:_MOST_SAID]) for one in issues)


async def _read(job: Job, number: int) -> PullRequest:
    for pause in (*ASK_AGAIN, None):
        # What was read within a minute can be too old for a verdict.
        await refresh_pull(job.repository, number, at_once=True)
        row = await PullRequest.objects.aget(repository=job.repository, number=number)
        if row.mergeable != "unknown" or row.state != "open" or pause is None:
            break
        await asyncio.sleep(pause)
    return row


def _facts(row: PullRequest, notes: list[str]) -> ForgeFacts:
    threads = threads_of(row)
    return ForgeFacts(
        read_at=(row.details_at or timezone.now()).isoformat(timespec="seconds").replace("+00:00", "Z"),
        head_sha=row.details_sha,
        blocks=tuple(what_blocks(row)),
        unknown=(*what_is_unknown(row), *notes),
        failed=tuple(_failed(row)),
        threads=None
        if threads is None
        else tuple(
            OpenThread(
                one.id, one.path, one.line, one.outdated, tuple((c.author, c.body) for c in one.comments)
            )
            for one in threads
        ),
    )


def _failed(row: PullRequest) -> list[FailedCheck]:
    found = []
    for check in checks_of(row):
        if check.outcome == "failure":
            log = failure_of(row, check)
            name = f"{check.workflow} / {check.name}" if check.workflow else check.name
            failed = FailedCheck(name, check.required, check.said or "failure", check.url)
            if log is not None:
                failed = replace(
                    failed, step=log.step, command=log.command, again=log.again, tests=log.tests,
                    lines=log.lines, note=log.note,
                )  # fmt: skip
            found.append(failed)
    return found
