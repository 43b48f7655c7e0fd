"""One job, for a program that is not at this computer: find it, wait for it, read all about it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import NotFound, OffloadError, UsageError
from jobs.forges.target import normalise_url, parse_target, spellings
from jobs.models import Job, JobEvent, Repository, WorkerRequest
from jobs.operations.feed import TAIL
from jobs.operations.observe import read_job
from jobs.operations.progress import Progress
from jobs.operations.pulls import ObservedPull, find_repository, observe_pull

if TYPE_CHECKING:
    from jobs.execution import Account
    from jobs.workers.costs import JobCost

NOWHERE = Path("/dev/null")  # no relative path leads anywhere from here


@dataclass(frozen=True)
class JobStatus:
    """A job as last observed, what it has cost, and its pull request; None when unknown.

    `account`: what its state, its attention and its agent's state are known from.
    """

    job: Job
    cost: JobCost | None
    pull: ObservedPull | None
    account: Account


async def find_named_job(text: str, action: str = "", repository: str = "") -> Job:
    """Return the one job that is meant; `text` is a target, or the name of a session.

    `repository`: slug, short name or address; empty: that of the target, else any. Raises `NotFound`, or
    `UsageError` that lists the choices when several match.
    """
    from jobs import execution

    session = Job.objects.select_related("repository", "worker", "pool").filter(session=text)
    if (named := await session.order_by("-id").afirst()) is not None:
        return named
    target = parse_target(text)
    row = await _find_known(repository or target.repository)
    if repository and target.repository and row != await _find_known(target.repository):
        raise UsageError(f"{text} is not of the repository {repository}.", hint="Leave one of them out.")
    return await execution.find_job(
        repository=row, target=target.shown, action=action, name=target.name or None, abbreviated=True
    )


async def _find_known(name: str) -> Repository | None:
    if not name:
        return None
    row = await find_repository(name)
    if row is None:
        with contextlib.suppress(UsageError):  # a name, and no address
            same = Repository.objects.filter(url__in=spellings(normalise_url(name, NOWHERE)))
            row = await same.order_by("id").afirst()
    if row is None:
        raise NotFound(f"No job was ever started for the repository {name!r}.", hint="See `offload ls`.")
    return row


async def wait_until_ended(job_id: int, seconds: float) -> Job:
    """Return a job as soon as it has ended, or as it is after that many seconds. Raises `NotFound`."""
    queue = await TAIL.listen()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (job := await read_job(job_id)).is_active and job.removed_at is None:
                    await queue.get()  # a ping comes each few seconds
        return await read_job(job_id)
    finally:
        TAIL.leave(queue)


async def read_status(job_id: int, warn: Progress) -> JobStatus:
    """Return a job as last observed, with its cost and its pull request. Raises `NotFound`."""
    from jobs import execution
    from jobs.workers.costs import cost_of_job

    job = await read_job(job_id)
    cost = None
    with contextlib.suppress(OffloadError):
        cost = await cost_of_job(job)
    pull = await observe_pull(job.repository, job.number, warn)
    return JobStatus(job, cost, pull, await execution.read_account(job))


async def read_removal(job_id: int) -> tuple[WorkerRequest | None, JobEvent | None]:
    """Return the last request to remove a job, and the event of its removal. Raises `NotFound`."""
    from jobs import execution

    request = await execution.removal_of(await read_job(job_id))
    removed = JobEvent.objects.filter(job_id=job_id, kind="removed")
    return request, await removed.order_by("-id").afirst()
