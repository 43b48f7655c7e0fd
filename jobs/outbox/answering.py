"""Answers to the threads that a fix was made for, as drafts: which commit is about which thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Q

from jobs.execution import archive, read_assessment
from jobs.execution.pull_requests import threads_of
from jobs.forges.base import COMMIT
from jobs.models import Draft, Job, PullRequest
from jobs.outbox import drafts
from jobs.states import DraftKind, DraftState


async def make_answers(job: Job, pushed: Collection[str], actor: str) -> list[Draft]:
    """Make a draft of an answer to each unresolved thread that a commit of a fix is about.

    `pushed`: the commits that a draft of the same job pushes. The text names the commit, and nothing that the
    agent says. A thread that the job has an answer to, in whatever state, gets none.
    """
    if not job.fixed_sha or job.number is None:
        return []
    if job.archived_at is None:
        await archive(job.id)
    known = await _open_threads(job, job.number)
    made = []
    for thread, commit in _answered(await asyncio.to_thread(read_assessment, job)):
        if thread in known and commit in pushed:
            known.remove(thread)
            made.append(await drafts.make_reply(job, thread, f"Changed in {commit}.", actor))
    return made


@sync_to_async
def _open_threads(job: Job, number: int) -> set[str]:
    row = PullRequest.objects.filter(repository=job.repository, number=number).first()
    known = {thread.id for thread in (threads_of(row) if row is not None else None) or ()}
    answers = Draft.objects.filter(~Q(state=DraftState.DROPPED), job=job, kind=DraftKind.REPLY.value)
    return known - {str(draft.payload.get("thread")) for draft in answers}


def _answered(data: bytes) -> list[tuple[str, str]]:
    """Return threads, by id, and the commit that is about each. On a bare worker a job can write anything."""
    try:
        fix: Any = json.loads(data)["fix"]
        parts = [part for item in fix["rounds"] for part in item["parts"]]
        pairs = [
            (fix["to_do"][number]["thread"], part["commit"]) for part in parts for number in part["topics"]
        ]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return []
    return [
        (thread, commit)
        for thread, commit in pairs
        if isinstance(thread, str) and thread and isinstance(commit, str) and COMMIT.fullmatch(commit)
    ]
