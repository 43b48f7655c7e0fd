"""Observe jobs: ask the workers of jobs whose rows may be out of date, once each."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.utils import timezone

from jobs.models import Job, Worker
from jobs.operations.progress import Progress

FRESH_SECONDS = 2.0
WORKER_SECONDS = 5.0
# A provider's answer and a tunnel take longer. The sum stays below the ten seconds that we promise.
CLOUD_SECONDS = 8.0


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
