"""Has the head moved since? A verdict is bound to a commit, and stale when the target went on."""

from __future__ import annotations

from jobs.errors import NotFound, TransportError
from jobs.execution.carry import is_carried
from jobs.models import Job
from jobs.transport.local import LocalTransport
from jobs.workers import Connection, connect, get_job

HEAD_DEADLINE = 10.0
# git asks nobody, and ssh neither.
_ENV = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}


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
    try:
        # A directory of this machine is asked here, whichever machine the job is on.
        asked = LocalTransport() if is_carried(job) else connection.transport
        done = await asked.run(
            ["git", "ls-remote", "--", job.repository.url, job.ref],
            env=_ENV,
            deadline=HEAD_DEADLINE,
            check=False,
        )
    except TransportError:
        return
    head = done.stdout.decode(errors="replace").split("\t")[0].strip()
    if done.exit_status != 0:
        return
    if not head:
        # Gone is not moved: the commit that was reviewed is still what it was.
        raise NotFound(
            f"{job.repository.url} has no {job.ref} any more: it was deleted there.",
            hint=f"{job.session} is about {job.sha[:10]}, and stays as it is until you remove it.",
        )
    moved = head if head != job.sha else ""
    if moved != job.moved_to:
        await Job.objects.filter(id=job.id).aupdate(moved_to=moved)
