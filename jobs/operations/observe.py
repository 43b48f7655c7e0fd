"""Observe jobs: ask the workers of jobs whose rows may be out of date, once each."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db.models import Q, QuerySet
from django.utils import timezone

from jobs.errors import UsageError
from jobs.forges.target import normalise_url, spellings
from jobs.models import Job, Worker
from jobs.operations.progress import Progress

FRESH_SECONDS = 2.0
WORKER_SECONDS = 5.0
# A provider's answer and a tunnel take longer. The sum stays below the ten seconds that we promise.
CLOUD_SECONDS = 8.0


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list. Empty fields match every job; `repository`: a slug, short name, address or path.

    `removed`: list the removed jobs instead of those with files on a worker; `before`: only jobs with a
    smaller id.
    """

    repository: str = ""
    states: tuple[str, ...] = ()
    limit: int = 0
    action: str = ""
    worker: str = ""
    verdict: str = ""
    removed: bool = False
    before: int = 0

    def apply(self) -> QuerySet[Job]:
        """Return the matching jobs, newest first."""
        jobs = Job.objects.select_related("repository", "worker", "pool").filter(
            removed_at__isnull=not self.removed
        )
        named = {"action": self.action, "worker__name": self.worker, "verdict": self.verdict}
        jobs = jobs.filter(**{column: value for column, value in named.items() if value})
        if self.before:
            jobs = jobs.filter(id__lt=self.before)
        if self.repository:
            name = self.repository
            meant = Q(repository__slug=name) | Q(repository__short=name)
            with contextlib.suppress(UsageError):  # a name, and no address
                meant |= Q(repository__url__in=spellings(normalise_url(name, Path.cwd())))
            jobs = jobs.filter(meant)
        if self.states:
            jobs = jobs.filter(state__in=self.states)
        return jobs[: self.limit] if self.limit else jobs


async def list_jobs(wanted: JobFilter, warn: Progress) -> list[Job]:
    """Return the matching jobs as just observed; see `observe_jobs`."""
    return await observe_jobs(wanted.apply(), warn)


@sync_to_async
def read_jobs(wanted: JobFilter) -> list[Job]:
    """Return the matching jobs as last observed; no worker is asked."""
    return list(wanted.apply())


async def read_job(job_id: int) -> Job:
    """Return a job as last observed. Raises `NotFound`."""
    from jobs.workers import get_job  # loads the transports, which a list of jobs does not need

    return await get_job(job_id)


async def observe_jobs(jobs: QuerySet[Job], warn: Progress) -> list[Job]:
    """Return the jobs after asking each worker whose active jobs were not observed just now.

    `warn` receives a sentence for each worker that did not answer; its jobs are returned as last observed.
    """

    @sync_to_async
    def read() -> list[Job]:
        # A new query each time, because a queryset keeps its rows.
        return list(jobs.all())

    found = await read()
    old = timezone.now() - timedelta(seconds=FRESH_SECONDS)
    workers = {
        job.worker_id: job.worker
        for job in found
        if job.is_active and job.worktree and (job.observed_at is None or job.observed_at < old)
    }
    if not workers:
        return found
    from jobs import execution  # loads the transports, which a list of ended jobs does not need

    await execution.prepare_to_look(workers.values())
    await asyncio.gather(*(_observe(worker, warn) for worker in workers.values()))
    return await read()


async def _observe(worker: Worker, warn: Progress) -> None:
    from jobs import execution
    from jobs.errors import OffloadError
    from jobs.workers.machines import is_cloud

    seconds = CLOUD_SECONDS if is_cloud(worker) else WORKER_SECONDS
    try:
        async with asyncio.timeout(seconds):
            await execution.refresh_worker(worker.id)
    except (OffloadError, TimeoutError) as error:
        why = error.message if isinstance(error, OffloadError) else f"no answer within {seconds:g} s"
        warn(f"{worker} cannot be reached ({why}). Its jobs are shown as last observed.")
