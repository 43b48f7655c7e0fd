"""Verbs that say how jobs are: ls, status."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.utils import timezone

from jobs import execution, serializers
from jobs.cli.fleet.machine_output import cost_json, describe_job, job_cost
from jobs.cli.offload.request import Request
from jobs.cli.output import (
    colour,
    needs_you,
    plain,
    print_commands,
    print_job,
    print_job_json,
    print_json,
    print_outcome,
    print_tasks,
    say,
)
from jobs.errors import OffloadError
from jobs.formats import format_age
from jobs.models import Job, Worker
from jobs.providers.registry import CLOUDS
from jobs.states import JobState, Reason

FRESH_SECONDS = 2.0
LOOK_SECONDS = 5.0
# Reaching a cloud takes longer: its answer, its tunnel. Still within the ten that we promise.
CLOUD_LOOK_SECONDS = 8.0


async def ls(request: Request) -> int:
    """`offload ls`: what needs you, what runs, what has ended."""
    jobs = await _look_at(execution.find_jobs().filter(removed_at__isnull=True))
    groups = (
        ("Needs you", [job for job in jobs if needs_you(job)]),
        ("At work", [job for job in jobs if job.is_active and not needs_you(job)]),
        ("Ended", [job for job in jobs if job.has_ended and not needs_you(job)]),
    )
    if request.json:
        print_json("jobs", [serializers.job_json(job) for _, members in groups for job in members])
        return 0
    if not jobs:
        print("There are no jobs. Start one: manage.py offload 123 review")
    blank = ""
    for title, members in groups:
        if members:
            print(f"{blank}{colour(f'{title} ({len(members)})', 'bold')}")
            blank = "\n"
        for job in members:
            print_job(job)
            print_commands(job)
    return 0


async def status(request: Request) -> int:
    """`offload status [TARGET]`: one job in full, with how its state is known."""
    if not request.words:
        return await ls(request)
    job = await request.job()
    job = (await _look_at(execution.find_jobs().filter(id=job.id)))[0]
    cost = await job_cost(job)
    if request.json:
        print_job_json(job, cost=cost_json(cost))
        return 0
    print_job(job)
    print(f"  {job.session}: {job.reason_text}")
    print(f"  {_source(job)}")
    if job.options.get("placement"):
        print(f"  {plain(job.options['placement'])}")
    for line in describe_job(job, cost):
        print(f"  {plain(line)}")
    print_tasks(job)
    if job.verdict:
        print_outcome(job)
    print_commands(job)
    return 0


def _source(job: Job) -> str:
    """Say how the state is known, and how old that knowledge is."""
    if job.removed_at is not None:
        return f"Removed from {job.worker} {format_age(job.removed_at)}; its logs are in the archive."
    if job.state == JobState.INTERRUPTED and job.reason == Reason.WORKER_LOST:
        return f"Known from the provider of {job.worker}, which was asked {format_age(job.finished_at)}."
    if job.observed_at is None:
        return f"Known from this machine's record; {job.worker} has not been asked about it yet."
    journal = f"the journal on {job.worker} (event {job.journal_seq})"
    return f"Known from {journal}, last read {format_age(job.observed_at)}."


async def _look_at(queryset: QuerySet[Job]) -> list[Job]:
    """Return the jobs after one look at each worker whose rows may be out of date."""

    @sync_to_async
    def read() -> list[Job]:
        # A new query each time: a queryset keeps what it has read.
        return list(queryset.all())

    jobs = await read()
    old = timezone.now() - timedelta(seconds=FRESH_SECONDS)
    workers = {
        job.worker_id: job.worker
        for job in jobs
        if job.is_active and job.worktree and (job.observed_at is None or job.observed_at < old)
    }
    if not workers:
        return jobs
    await execution.prepare_to_look(workers.values())
    await asyncio.gather(*(_look(worker) for worker in workers.values()))
    return await read()


async def _look(worker: Worker) -> None:
    seconds = CLOUD_LOOK_SECONDS if worker.provider in CLOUDS else LOOK_SECONDS
    try:
        async with asyncio.timeout(seconds):
            await execution.refresh_worker(worker.id)
    except (OffloadError, TimeoutError) as error:
        why = error.message if isinstance(error, OffloadError) else f"no answer within {seconds:g} s"
        say(f"{worker} cannot be asked ({why}); its jobs are shown as last seen.")
