"""Answers to an agent that waits in a job's pane: the runner types them, if its reports say that it waits."""

from __future__ import annotations

import re
from contextlib import suppress

from jobs.errors import OffloadError, Refused, UsageError
from jobs.execution.follow import refresh
from jobs.execution.secrets import OPEN
from jobs.models import Job
from jobs.remote.offload_runner.engine.agent_screen import LONGEST_TEXT
from jobs.remote.offload_runner.protocol import ANSWERS, SEND
from jobs.states import JobState
from jobs.workers import connect, get_job

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


async def answer_agent(job_id: int, answer: str, text: str, actor: str, *, about: str = "") -> Job:
    """Type an answer (one of `ANSWERS`) to the agent of a job, and return the job as observed after that.

    `text`: what to send, or why it is denied; `about`: the question as the actor saw it, empty: unknown.
    Raises `UsageError` for what cannot be typed, `Refused` when the agent does not wait for that answer.
    """
    text = text.replace("\r\n", "\n")
    _check(answer, text)
    job = await get_job(job_id)
    if job.action != OPEN or not job.options.get("agent"):
        raise Refused(
            f"{job.session} has no agent that waits in its pane.",
            hint="`offload TARGET open --agent NAME` starts one.",
        )
    if job.state != JobState.RUNNING:
        raise Refused(f"The agent of {job.session} does not run: the job is {job.state}.")
    async with connect(job.worker) as connection:
        await connection.client.answer(job.session, answer, text, actor, about=about)
    with suppress(OffloadError):  # it was typed; the reconciler observes the rest
        return await refresh(job_id)
    return await get_job(job_id)


def _check(answer: str, text: str) -> None:
    if answer not in ANSWERS:
        raise UsageError(f"{answer!r} is no answer.", hint=f"Answers: {', '.join(ANSWERS)}.")
    if found := _CONTROLS.search(text):
        raise UsageError(
            f"The text has the control character {found[0]!r}, and is typed as it is.",
            hint="Send plain text; lines and tabs are fine.",
        )
    if len(text) > LONGEST_TEXT:
        raise UsageError(f"The text has {len(text)} characters; at most {LONGEST_TEXT} are typed.")
    if answer == SEND and not text.strip():
        raise Refused("There is no text to send.")
