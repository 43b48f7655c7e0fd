"""Wait until a job has ended, and map its outcome to an exit code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from jobs.cli.output import TaskPrinter, print_job_json, print_outcome, say
from jobs.cli.request import Request
from jobs.client import get_client
from jobs.errors import OffloadError
from jobs.models import Job
from jobs.states import JobState, Verdict

EXIT_JOB_FAILED = 10
EXIT_CANCELLED = 12
EXIT_VERDICT = 20
LOOK_SECONDS = 0.5


def exit_code(job: Job) -> int:
    """Return the exit code of a job that has ended."""
    if job.verdict in (Verdict.NEEDS_WORK, Verdict.FAIL):
        return EXIT_VERDICT
    if job.state == JobState.CANCELLED:
        return EXIT_CANCELLED
    return 0 if job.state == JobState.SUCCEEDED else EXIT_JOB_FAILED


def describe_return(job: Job) -> str:
    """Return the sentence that says how to attach to a job again."""
    commands = get_client().commands_for(job)
    return (
        f"Attach again with: {commands['attach']}"
        if "attach" in commands
        else f"Its page: {commands['page']}"
    )


async def load(job_id: int) -> Job:
    """Return a job as it was last observed."""
    return await get_client().load(job_id)


async def wait_until_ended(request: Request, job: Job) -> int:
    """Wait, print each task that ends and then the outcome, and return the exit code."""
    request.if_interrupted = f"Interrupted; the job keeps running. {describe_return(job)}"
    tasks = TaskPrinter(quiet=request.json)
    printer = asyncio.create_task(_print_tasks(job.id, tasks))
    try:
        job = await get_client().wait(job.id, timeout=request.timeout, pausing=_print_pause_once())
    finally:
        printer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await printer
    tasks.update(job)
    return await finish(request, job)


def _print_pause_once() -> Callable[[Job], None]:
    printed: set[int] = set()

    def pausing(job: Job) -> None:
        if job.id not in printed:
            printed.add(job.id)
            say(
                f"{job.session} was interrupted. The reconciler resumes it when {job.worker} runs again "
                "(--auto-resume). Still waiting."
            )

    return pausing


async def _print_tasks(job_id: int, tasks: TaskPrinter) -> None:
    while True:
        # What cannot be read now is printed at the end.
        with contextlib.suppress(OffloadError):
            tasks.update(await load(job_id))
        await asyncio.sleep(LOOK_SECONDS)


async def finish(request: Request, job: Job) -> int:
    """Archive the evidence, print the outcome of the job, and return its exit code."""
    job = await get_client().finish(job)
    if request.json:
        print_job_json(job)
    else:
        print_outcome(job)
    return exit_code(job)
