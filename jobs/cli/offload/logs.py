"""`offload logs TARGET [ACTION] [TASK]`: print the log of one task, or of all that have started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jobs.cli.output import print_job_json, write_bytes
from jobs.cli.request import Request
from jobs.cli.waiting import load
from jobs.client import get_client
from jobs.errors import TooLarge, UsageError
from jobs.models import Job
from jobs.playbooks import registry as playbooks
from jobs.states import TaskState

LOG_CHUNK = 1 << 20
LOG_POLL = 0.3
JSON_LIMIT = 64 << 20
_NOT_ENDED = (TaskState.PENDING, TaskState.RUNNING)


async def run(request: Request) -> int:
    """Print the logs."""
    actions = {playbook.action for playbook in playbooks.PLAYBOOKS}
    words = request.words
    named = 2 if len(words) > 1 and words[1] in actions else 1
    if len(words) > named + 1:
        # The second of three words is not an action: the error lists the actions.
        playbooks.get(words[1])
    request.words = words[:named]
    job = await get_client().refresh((await request.job()).id)
    task = words[named] if len(words) > named else ""
    if request.follow:
        return await _follow(request, job, task)
    started = [item["id"] for item in job.tasks if item["state"] != TaskState.PENDING]
    names = [task] if task else started
    if request.json:
        texts = {name: (await _whole(job, name)).decode(errors="replace") for name in names}
        print_job_json(job, logs=texts)
        return 0
    for name in names:
        if not task:
            print(f"==> {name} <==", flush=True)
        async for chunk in _chunks(job, name, 0):
            write_bytes(chunk)
    return 0


async def _follow(request: Request, job: Job, task: str) -> int:
    """Print a task's log as it grows, until the task has ended."""
    if request.json:
        raise UsageError("--follow streams text and --json prints one object.", hint="Use one of them.")
    if not task:
        running = [item["id"] for item in job.tasks if item["state"] == TaskState.RUNNING]
        if len(running) != 1:
            known = ", ".join(running or [item["id"] for item in job.tasks]) or "none yet"
            raise UsageError(
                f"--follow needs one task, and {len(running)} are running.", hint=f"Name one of: {known}."
            )
        task = running[0]
    request.if_interrupted = "Interrupted; the job keeps running."
    offset = 0
    while True:
        # The state is read before the log, so that the last chunk has all that the task wrote.
        job = await get_client().refresh(job.id) if job.is_active else await load(job.id)
        ended = job.has_ended or _state(job, task) not in _NOT_ENDED
        async for chunk in _chunks(job, task, offset):
            write_bytes(chunk)
            offset += len(chunk)
        if ended:
            return 0
        await asyncio.sleep(LOG_POLL)


def _state(job: Job, task: str) -> str:
    return next((str(item["state"]) for item in job.tasks if item["id"] == task), TaskState.PENDING)


async def _chunks(job: Job, task: str, offset: int) -> AsyncIterator[bytes]:
    while chunk := await get_client().read_log(job.id, task, offset, LOG_CHUNK):
        yield chunk
        offset += len(chunk)


async def _whole(job: Job, task: str) -> bytes:
    data = b""
    async for chunk in _chunks(job, task, 0):
        data += chunk
        if len(data) > JSON_LIMIT:
            raise TooLarge(
                f"The log of {task} is larger than {JSON_LIMIT} bytes.", hint="Print it without --json."
            )
    return data
