"""What a job leaves behind: logs, recording, assessment; read from the worker, kept at home.

When a job has ended, its directory is copied into `OFFLOAD_HOME/archive/<job id>/` in one round trip, so
that the evidence outlives the worker.
"""

from __future__ import annotations

import asyncio
import errno
import io
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from django.conf import settings
from django.utils import timezone

from jobs.errors import NotFound, Refused, UsageError, WorkerUnavailable
from jobs.models import Job
from jobs.states import JOB_ENDED
from jobs.workers import Connection, connect, get_job

RECORDING = "recording.cast"
ARCHIVE_DEADLINE = 300.0
ARCHIVE_BYTES = 2 * 1024**3
# What the runner works with, not evidence.
LEFT_OUT = ("reserve", "run.lock", "start.lock", "supervisor.lock", "steps.sock")


def archive_dir(job_id: int) -> Path:
    """Return where a job's evidence is kept."""
    return Path(settings.OFFLOAD.archive) / str(job_id)


async def archive(job_id: int) -> bool:
    """Copy an ended job's evidence home; return whether there was something to copy.

    Raises an error of the line; the row says `archived_at` only when everything is here.
    """
    job = await get_job(job_id)
    if job.state not in JOB_ENDED or job.removed_at is not None or not job.worktree:
        return False
    async with connect(job.worker) as connection:
        return await archive_over(connection, job)


async def archive_over(connection: Connection, job: Job) -> bool:
    """Copy a job's evidence home over an open line."""
    layout = connection.layout
    excludes = [f"--exclude={job.session}/{name}" for name in LEFT_OUT]
    done = await connection.transport.run(
        ["tar", "-C", layout.path("jobs"), *excludes, "-cf", "-", job.session],
        deadline=ARCHIVE_DEADLINE,
        check=False,
    )
    # tar exits 1 when a file grew while it was read (the session's recording does).
    if done.exit_status not in (0, 1):
        return False
    await asyncio.to_thread(_unpack, done.stdout, archive_dir(job.id), job.session)
    assessment = _read(archive_dir(job.id) / "assessment.md")
    await Job.objects.filter(id=job.id).aupdate(archived_at=timezone.now(), assessment=assessment)
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _unpack(data: bytes, target: Path, session: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A draft of our own: several commands may bring the same job's evidence home at once.
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as draft:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            _extract(tar, Path(draft))
        while True:
            shutil.rmtree(target, ignore_errors=True)
            try:
                (Path(draft) / session).rename(target)
                return
            except OSError as error:
                # Another command's copy came between; ours is as new, and takes its place.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


def _extract(tar: tarfile.TarFile, target: Path) -> None:
    """Write the regular files and directories of an archive below `target`; links and devices are left out.

    Raises `WorkerUnavailable` when the files are too large.
    """
    room = ARCHIVE_BYTES
    for member in tar:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            continue
        path = target / name
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif member.isreg():
            room -= member.size
            if room < 0:
                raise WorkerUnavailable(
                    f"The evidence on the worker is larger than {ARCHIVE_BYTES} bytes: {member.name}.",
                    hint="Remove large files from the job's directory on the worker.",
                )
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            source = tar.extractfile(member)
            if source is not None:
                with path.open("xb") as file:
                    shutil.copyfileobj(source, file)


def _task_known(job: Job, task: str) -> None:
    known = [item["id"] for item in job.tasks]
    if task not in known:
        raise UsageError(
            f"{job.session} has no task {task!r}.", hint=f"Its tasks: {', '.join(known) or 'none yet'}."
        )


async def read_log(job_id: int, task: str, offset: int = 0, limit: int | None = None) -> bytes:
    """Return a task's log from byte `offset`, at most `limit` bytes.

    Read from the archive when the job's evidence is at home, else from the worker. A task that has not
    started yet has an empty log. Raises `UsageError` for an unknown task.
    """
    job = await get_job(job_id)
    _task_known(job, task)
    if job.archived_at is not None:
        local = archive_dir(job.id) / "tasks" / f"{task}.log"
        return await asyncio.to_thread(_slice, local, offset, limit)
    async with connect(job.worker) as connection:
        path = connection.layout.task_log(job.session, task)
        try:
            return await connection.transport.get(path, offset=offset, limit=limit)
        except NotFound:
            return b""


async def log_size(job_id: int, task: str) -> int:
    """Return the size of a task's log in bytes, 0 without one. Raises `UsageError` for an unknown task."""
    job = await get_job(job_id)
    _task_known(job, task)
    if job.archived_at is not None:
        path = archive_dir(job.id) / "tasks" / f"{task}.log"
        return path.stat().st_size if path.is_file() else 0
    async with connect(job.worker) as connection:
        path_there = connection.layout.task_log(job.session, task)
        done = await connection.transport.run(["wc", "-c", path_there], check=False)
    size = done.stdout.split()[:1]
    return int(size[0]) if done.exit_status == 0 and size else 0


def _slice(path: Path, offset: int, limit: int | None) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(-1 if limit is None else limit)
    except FileNotFoundError:
        return b""


async def read_recording(job_id: int) -> bytes:
    """Return the recording of a job's session (asciicast). Raises `NotFound` when there is none."""
    job = await get_job(job_id)
    if job.archived_at is not None:
        data = await asyncio.to_thread(_slice, archive_dir(job.id) / RECORDING, 0, None)
        if data:
            return data
    if job.removed_at is None and job.worktree:
        async with connect(job.worker) as connection:
            return await connection.transport.get(connection.layout.path("jobs", job.session, RECORDING))
    raise NotFound(f"{job.session} has no recording.", hint="Only sessions that ran are recorded.")


async def peek(job_id: int, lines: int = 200) -> str:
    """Return the text on the session's screen and the last lines above it."""
    job = await get_job(job_id)
    _must_be_present(job)
    async with connect(job.worker) as connection:
        return await connection.client.peek(job.session, lines=lines)


async def diff(job_id: int, *, stat: bool = False) -> bytes:
    """Return the change under review as `git diff` prints it."""
    job = await get_job(job_id)
    _must_be_present(job)
    async with connect(job.worker) as connection:
        return await connection.client.diff(job.session, stat=stat)


def _must_be_present(job: Job) -> None:
    if job.removed_at is not None:
        raise NotFound(f"{job.session} was removed from its worker.", hint="Its logs are in its archive.")
    if not job.worktree:
        raise Refused(f"{job.session} has no worktree yet: it is {job.state}.", hint="Wait until it runs.")
