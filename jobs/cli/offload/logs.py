"""Verbs that read what a job does and leaves: peek, logs, wait, diff."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from jobs import execution
from jobs.cli.offload.request import Request
from jobs.cli.offload.wait import load, wait_until_ended
from jobs.cli.output import print_job_json
from jobs.errors import UsageError
from jobs.models import Job
from jobs.playbooks import registry as playbooks
from jobs.states import TaskState

LOG_CHUNK = 1 << 20
LOG_POLL = 0.3
_NOT_ENDED = (TaskState.PENDING, TaskState.RUNNING)


async def peek(request: Request) -> int:
    """`offload peek TARGET`: what is on the session's screen."""
    job = await request.job()
    screen = await execution.peek(job.id, lines=request.lines)
    if request.json:
        print_job_json(job, screen=screen)
    else:
        print(screen, end="")
    return 0


async def diff(request: Request) -> int:
    """`offload diff TARGET`: the change under review."""
    job = await request.job()
    change = await execution.diff(job.id, stat=request.stat)
    if request.json:
        print_job_json(job, diff=change.decode(errors="replace"))
    else:
        _write(change)
    return 0


async def wait(request: Request) -> int:
    """`offload wait TARGET`: until it has ended; the exit code says how."""
    return await wait_until_ended(request, await request.job())


async def logs(request: Request) -> int:
    """`offload logs TARGET [ACTION] [TASK]`: a task's log, or all of them."""
    actions = {playbook.action for playbook in playbooks.PLAYBOOKS}
    words = request.words
    named = 2 if len(words) > 1 and words[1] in actions else 1
    if len(words) > named + 1:
        # Three words, and the second is no action: say which actions there are.
        playbooks.get(words[1])
    request.words = words[:named]
    job = await execution.refresh((await request.job()).id)
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
            _write(chunk)
    return 0


async def _follow(request: Request, job: Job, task: str) -> int:
    """Print a task's log as it grows, until the task has ended."""
    if request.json:
        raise UsageError("--follow streams text, and --json is one answer.", hint="Leave one of them out.")
    if not task:
        running = [item["id"] for item in job.tasks if item["state"] == TaskState.RUNNING]
        if len(running) != 1:
            known = ", ".join(running or [item["id"] for item in job.tasks]) or "none yet"
            raise UsageError(
                f"Following needs one task, and {len(running)} are running.", hint=f"Name one of: {known}."
            )
        task = running[0]
    request.if_interrupted = "Interrupted; the job goes on."
    offset = 0
    while True:
        # The state is read before the log: what a task wrote before its end is then in the last chunk.
        job = await execution.refresh(job.id) if job.is_active else await load(job.id)
        ended = job.has_ended or _state(job, task) not in _NOT_ENDED
        async for chunk in _chunks(job, task, offset):
            _write(chunk)
            offset += len(chunk)
        if ended:
            return 0
        await asyncio.sleep(LOG_POLL)


def _state(job: Job, task: str) -> str:
    return next((str(item["state"]) for item in job.tasks if item["id"] == task), TaskState.PENDING)


async def _chunks(job: Job, task: str, offset: int) -> AsyncIterator[bytes]:
    while chunk := await execution.read_log(job.id, task, offset, LOG_CHUNK):
        yield chunk
        offset += len(chunk)


async def _whole(job: Job, task: str) -> bytes:
    return b"".join([chunk async for chunk in _chunks(job, task, 0)])


def _write(data: Any) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
