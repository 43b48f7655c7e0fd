"""Containers and the jobs in them: what the rows say decides whether a container may be made again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from jobs.models import Job
from jobs.remote.container_commands import PLACES
from jobs.remote.offload_runner.files.paths import AGENT
from jobs.states import JobState
from jobs.workers.connection import Connection
from jobs.workers.container import lifecycle
from jobs.workers.container.lifecycle import Found
from jobs.workers.container.spec import NO_NETWORK

_AT_WORK = (JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING)


async def ensure_container(
    connection: Connection, job: Job, step: Callable[[str], None] = lambda text: None
) -> Found:
    """Bring up the containers of the job's worker; return what runs, nothing on a bare worker.

    Raises `NotConfigured` (no engine, no image), `WorkerUnavailable`, or an error of the line.
    """
    spec = connection.container
    if spec is None:
        return Found("")
    others = Job.objects.filter(worker_id=job.worker_id, state__in=_AT_WORK, removed_at__isnull=True).exclude(
        id=job.id
    )
    is_idle = not await others.aexists()
    found = await lifecycle.ensure(connection.transport, connection.layout, spec, is_idle=is_idle, step=step)
    if found.note:
        step(found.note)
    return found


async def ensure_job_container(connection: Connection, job: Job, step: Callable[[str], None]) -> None:
    """With isolation `job`, bring up the container that the job's plan runs in."""
    spec = connection.container
    if spec is None or spec.isolation != "job":
        return
    step(f"Making the container {spec.for_job(job.session).container}")
    paths = [f"{part}/{job.session}" for part in ("worktrees", "home", "caches")]
    await lifecycle.ensure_job(connection.transport, connection.layout, spec, job.session, paths)


def place_runs(
    found: Found, job: Job, *, offline: Collection[str] = (), edits: bool = False
) -> dict[str, list[str]]:
    """Return how the containers of the job's further places are started.

    `offline` ones get no network. `edits`: the agent writes the worktree; else it reads it.
    """
    if found.spec is None:
        return {}
    runs = {}
    for place in PLACES:
        spec = found.spec.for_place(place, job.session, job.repository.short)
        spec = replace(spec, edits=edits and place == AGENT)
        if place in offline:
            spec = replace(spec, network=NO_NETWORK)
        runs[place] = spec.place_words(found.image_id)
    return runs


async def remove_job_container(connection: Connection, job: Job) -> None:
    """Remove the job's own container, if there is one."""
    if connection.container is not None and connection.container.isolation == "job":
        await lifecycle.remove_job(connection.transport, connection.container, job.session)
