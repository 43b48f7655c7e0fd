"""Stopping a job: intent first, then the processes, then the word `cancelled`."""

from __future__ import annotations

from jobs.errors import MachineDown, Refused
from jobs.execution.follow import read_once
from jobs.execution.machines import is_down
from jobs.models import Job
from jobs.states import JobState, Reason
from jobs.transitions import amove_job
from jobs.workers import connect, get_job

STOP_GRACE = 5.0


async def request_cancel(job_id: int, actor: str) -> Job:
    """Request that a job is cancelled; the reconciler, or `cancel`, carries it out."""
    job = await get_job(job_id)
    if job.state == JobState.QUEUED and not job.worktree:
        await amove_job(
            job_id, JobState.CANCELLED, reason=Reason.CANCELLED_BY_USER, actor=actor,
            sources=frozenset({JobState.QUEUED}),
        )  # fmt: skip
    await amove_job(job_id, JobState.CANCELLING, reason=Reason.CANCELLED_BY_USER, actor=actor)
    job = await get_job(job_id)
    if job.state not in (JobState.CANCELLING, JobState.CANCELLED):
        raise Refused(
            f"{job.session} cannot be cancelled: it is {job.state}.", hint="There is nothing at work."
        )
    return job


async def cancel(job_id: int, actor: str) -> Job:
    """Cancel a job and return it once its processes are verified to be gone.

    Raises `Refused` when it has ended already, or an error of the line: the job then stays `cancelling`,
    and the reconcile loop goes on trying.
    """
    job = await request_cancel(job_id, actor)
    if job.state == JobState.CANCELLING:
        await finish_cancel(job)
    return await get_job(job_id)


async def finish_cancel(job: Job) -> None:
    """Stop what runs for a job that is `cancelling`, apply its last events, and say so."""
    if job.worktree:
        try:
            async with connect(job.worker) as connection:
                await connection.client.stop(job.session, grace=STOP_GRACE)
                await read_once(connection)
        except MachineDown:
            # Nothing runs on a machine that is down; looking at it says so of all its jobs.
            if not await is_down(job.worker):
                raise
    await amove_job(
        job.id,
        JobState.CANCELLED,
        reason=Reason.CANCELLED_BY_USER,
        sources=frozenset({JobState.CANCELLING}),
    )
