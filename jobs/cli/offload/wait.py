"""Until a job has ended, and what its end means for the exit code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from jobs import execution, serializers
from jobs.cli.offload.request import Request
from jobs.cli.output import TaskPrinter, print_job_json, print_outcome, say
from jobs.errors import OffloadError
from jobs.models import Job
from jobs.states import JobState, Verdict

EXIT_JOB_FAILED = 10
EXIT_CANCELLED = 12
EXIT_VERDICT = 20
LOOK_SECONDS = 0.5


def exit_code(job: Job) -> int:
    """Return the exit code that a job's end stands for."""
    if job.verdict in (Verdict.NEEDS_WORK, Verdict.FAIL):
        return EXIT_VERDICT
    if job.state == JobState.CANCELLED:
        return EXIT_CANCELLED
    return 0 if job.state == JobState.SUCCEEDED else EXIT_JOB_FAILED


def come_back(job: Job) -> str:
    """Say how to come back to a job."""
    return f"Come back with: {serializers.commands_for(job)['attach']}"


async def load(job_id: int) -> Job:
    """Return a job's row as it is now."""
    return await Job.objects.select_related("repository", "worker").aget(id=job_id)


async def wait_until_ended(request: Request, job: Job) -> int:
    """Wait, saying how each task ended; print the outcome; return its exit code."""
    request.if_interrupted = f"Interrupted; the job goes on. {come_back(job)}"
    tasks = TaskPrinter(quiet=request.json)
    shower = asyncio.create_task(_show(job.id, tasks))
    try:
        job = await execution.wait(job.id, timeout=request.timeout, pausing=_say_once())
    finally:
        shower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shower
    tasks.update(job)
    return await finish(request, job)


def _say_once() -> Callable[[Job], None]:
    told: set[int] = set()

    def pausing(job: Job) -> None:
        if job.id not in told:
            told.add(job.id)
            say(
                f"{job.session} was interrupted, and goes on by itself when {job.worker} is up again "
                "(--auto-resume; the reconcile loop sees to it). Still waiting."
            )

    return pausing


async def _show(job_id: int, tasks: TaskPrinter) -> None:
    while True:
        tasks.update(await load(job_id))
        await asyncio.sleep(LOOK_SECONDS)


async def finish(request: Request, job: Job) -> int:
    """Bring the evidence home, print how the job ended, return the exit code for that."""
    if job.removed_at is None:
        # What fails here is done by the reconcile loop, or by `rm`.
        with contextlib.suppress(OffloadError):
            await execution.archive(job.id)
    job = await load(job.id)
    if request.json:
        print_job_json(job)
    else:
        print_outcome(job)
    return exit_code(job)
