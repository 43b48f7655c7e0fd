"""Has the head moved since? A verdict is bound to a commit, and stale when the target went on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import transaction

from jobs.errors import NotFound, OffloadError
from jobs.execution.git_bundle import is_carried
from jobs.execution.repositories import is_local_path
from jobs.execution.secrets import credentials_for, missing_credentials
from jobs.models import Job, JobEvent, Worker
from jobs.remote.answers import translate
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import fetch
from jobs.workers import Connection, connect, get_job

HEAD_DEADLINE = 10.0


async def check_head(job_id: int) -> Job:
    """Ask the remote, from the worker, where the job's ref is now; return the job with `moved_to` set.

    A remote that does not answer changes nothing: the last known state stands. Raises `NotFound` when it
    has no such ref any more.
    """
    job = await get_job(job_id)
    if job.removed_at is None and job.sha and job.ref.startswith("refs/"):
        async with connect(job.worker) as connection:
            await check_head_over(connection, job)
        job = await get_job(job_id)
    return job


async def check_head_over(connection: Connection, job: Job) -> None:
    """Do the same over an open line."""
    heads = await _ask(connection, [job])
    if heads is not None and job.ref not in heads:
        # Gone is not moved: the commit that was reviewed is still what it was.
        raise NotFound(
            f"{job.repository.url} has no {job.ref} any more: it was deleted there.",
            hint=f"{job.session} is about {job.sha[:10]}, and stays as it is until you remove it.",
        )
    await _note(job, heads or {})


async def read_head(url: str, worker: Worker) -> str:
    """Return the commit of a repository's HEAD, as git on the worker reads it; empty when it has none.

    A directory of this machine is read here. Raises what git said, with a hint at the token that may help.
    """
    try:
        if is_local_path(url):
            remote = fetch.Remote(url, "")
            refs: Mapping[str, str] = (await asyncio.to_thread(fetch.ask, Path("/"), remote, [])).refs
        else:
            spec = {**await credentials_for(url), "url": url, "refs": ["HEAD"]}
            async with connect(worker) as connection:
                refs = await connection.client.heads(spec, deadline=HEAD_DEADLINE)
    except RunnerError as error:
        raise translate(error.to_json()) from error
    except OffloadError as error:
        raise missing_credentials(url, error) from error
    return refs.get("HEAD", "")


async def check_heads(jobs: Sequence[Job]) -> None:
    """Look where the refs of several jobs are, all of one repository and one worker, in one round trip."""
    async with connect(jobs[0].worker) as connection:
        heads = await _ask(connection, jobs) or {}
    for job in jobs:
        await _note(job, heads)


async def _ask(connection: Connection, jobs: Sequence[Job]) -> Mapping[str, str] | None:
    """Return the refs of the jobs with their commits; None when the repository does not answer."""
    url, refs = jobs[0].repository.url, sorted({job.ref for job in jobs})
    try:
        if is_carried(jobs[0]):
            # A directory of this machine is asked here, whichever machine the jobs are on.
            return (await asyncio.to_thread(fetch.ask, Path("/"), fetch.Remote(url, ""), refs)).refs
        # git is where the jobs' git is: in the control container, where there is one.
        spec = {**await credentials_for(url), "url": url, "refs": refs}
        return await connection.client.heads(spec, deadline=HEAD_DEADLINE)
    except (OffloadError, RunnerError):
        return None


async def _note(job: Job, heads: Mapping[str, str]) -> None:
    head = heads.get(job.ref)
    if head is None:
        return
    moved = head if head != job.sha else ""
    if moved != job.moved_to:
        await sync_to_async(_set_moved)(job, moved)


def _set_moved(job: Job, moved: str) -> None:
    with transaction.atomic():
        changed = Job.objects.filter(id=job.id).exclude(moved_to=moved).update(moved_to=moved)
        if changed and moved:
            JobEvent.objects.create(job=job, kind="head_moved", data={"to": moved})
