"""The client of this computer: its database, and workers that are asked by this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import operations, serializers
from jobs.errors import OffloadError
from jobs.models import Job, PullRequest
from jobs.states import JobState, Reason

if TYPE_CHECKING:
    from jobs.execution import Removal
    from jobs.operations import JobFilter, JobStatus, NewJob, Progress
    from jobs.serializers import DraftJson, PreviewJson

UNSTARTED = (JobState.QUEUED, JobState.PREPARING)


def may_resume(job: Job) -> bool:
    """Return whether starting a job again goes on with it: it was interrupted, cancelled or not prepared."""
    unprepared = job.state == JobState.FAILED and job.reason == Reason.PREPARE_FAILED
    return unprepared or job.state in (JobState.CANCELLED, JobState.INTERRUPTED)


# `jobs.execution` loads the transports, which a list of jobs does not need.


class Here:
    """Jobs of this computer. `server`: empty."""

    server = ""

    async def list_jobs(self, wanted: JobFilter, warn: Progress) -> list[Job]:
        """Return the matching jobs as just observed."""
        return await operations.list_jobs(wanted, warn)

    async def list_pulls(self, repository: str, cwd: Path, warn: Progress) -> list[PullRequest]:
        """Return the open pull requests of a repository; empty: that of the current directory."""
        return await operations.list_pulls(repository, cwd, warn)

    async def load(self, job_id: int) -> Job:
        """Return a job as last observed. Raises `NotFound`."""
        return await operations.read_job(job_id)

    async def refresh(self, job_id: int) -> Job:
        """Return a job as just observed."""
        from jobs import execution

        return await execution.refresh(job_id)

    async def read_status(self, job: Job, warn: Progress) -> JobStatus:
        """Return a job as just observed, with its cost and its pull request."""
        from jobs import execution

        await operations.observe_jobs(execution.find_jobs().filter(id=job.id), warn)
        return await operations.read_status(job.id, warn)

    async def read_log(self, job_id: int, task: str, offset: int, limit: int) -> bytes:
        """Return a range of bytes of a task's log; empty at its end."""
        from jobs import execution

        return await execution.read_log(job_id, task, offset, limit)

    async def peek(self, job_id: int, lines: int) -> str:
        """Return the text on the session's screen, with the last lines above it."""
        from jobs import execution

        return await execution.peek(job_id, lines=lines)

    async def diff(self, job_id: int, *, stat: bool, limit: int) -> bytes:
        """Return the first `limit` bytes of the change under review."""
        from jobs import execution

        return await execution.diff(job_id, stat=stat, limit=limit)

    async def wait(
        self, job_id: int, *, timeout: float | None, pausing: Callable[[Job], None] | None = None
    ) -> Job:
        """Return a job when it has ended; see `jobs.execution.wait`."""
        from jobs import execution

        return await execution.wait(job_id, timeout=timeout, pausing=pausing)

    async def finish(self, job: Job) -> Job:
        """Archive the evidence of an ended job and return its row."""
        from jobs import execution

        if job.removed_at is None:
            # If this fails, the reconciler or `rm` archives it later.
            with contextlib.suppress(OffloadError):
                await execution.archive(job.id)
        return await self.load(job.id)

    async def cancel(self, job_id: int, actor: str) -> Job:
        """Cancel a job; return it when its processes have ended."""
        from jobs import execution

        return await execution.cancel(job_id, actor)

    async def answer(self, job_id: int, answer: str, text: str, actor: str, *, about: str = "") -> Job:
        """Type an answer to the agent that waits in a job's pane; see `jobs.execution.answer_agent`."""
        from jobs import execution

        return await execution.answer_agent(job_id, answer, text, actor, about=about)

    async def remove(self, job_id: int, *, force: bool, actor: str) -> Removal:
        """Remove a job's files from its worker."""
        from jobs import execution

        return await execution.remove(job_id, force=force, actor=actor)

    async def find(self, text: str, action: str, repository: str) -> Job:
        """Return the one job that is meant, as just observed. Raises `NotFound`, `UsageError`."""
        job = await operations.find_named_job(text, action, repository)
        return await self.refresh(job.id) if job.is_active and job.worktree else job

    async def start(self, new: NewJob, actor: str) -> Job:
        """Submit a job, or find the equal one, and launch it unless it runs or has ended with a result."""
        from jobs import execution

        job, created = await operations.submit_job(new, actor)
        if not created and may_resume(job):
            await execution.resume(job.id, actor)
            job = await self.load(job.id)
        return await execution.launch(job.id) if job.state in UNSTARTED else job

    async def read_assessment(self, job_id: int) -> str:
        """Return the text that explains a job's verdict; empty when there is none."""
        return (await self.load(job_id)).assessment

    async def list_drafts(self) -> list[DraftJson]:
        """Return the drafts that were neither sent nor dropped."""
        from jobs import outbox

        return [serializers.draft_json(draft) for draft in await outbox.list_drafts()]

    async def preview_draft(self, number: int) -> tuple[DraftJson, PreviewJson]:
        """Return a draft, and the review exactly as it would appear now."""
        from jobs import outbox

        draft = await outbox.get_draft(str(number))
        return serializers.draft_json(draft), serializers.preview_json(await outbox.prepare_draft(draft))

    async def send_draft(self, number: int, digest: str) -> DraftJson:
        """Post a draft, once, as the preview with this digest showed it, after a person's yes."""
        from jobs import outbox

        return serializers.draft_json(await outbox.send_shown(number, digest))

    def commands_for(self, job: Job) -> dict[str, str]:
        """Return the shell commands to attach, print logs and remove the job, and to attach by tmux alone."""
        return serializers.commands_for(job)
