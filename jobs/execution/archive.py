"""What a job leaves behind: logs, recording, assessment; read from the worker, kept at home.

When a job has ended, its directory is copied into `OFFLOAD_HOME/archive/<job id>/` in one round trip, so
that the evidence outlives the worker. On a bare worker a job can put anything there: only regular files of a
size that ours can have are taken, by way of a file of bounded size.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import IO

from django.conf import settings
from django.utils import timezone

from jobs.errors import CommandFailed, NotFound, Refused, TimedOut, TooLarge, UsageError
from jobs.models import Job
from jobs.states import JOB_ENDED
from jobs.transport.base import OUTPUT_LIMIT, Transport
from jobs.workers import Connection, connect, ensure_container, ensure_job_container, get_job

RECORDING = "recording.cast"
ARCHIVE_DEADLINE = 300.0
ARCHIVE_BYTES = 2 * 1024**3
# The runner ends a log at 50 MiB and a recording at 64 MiB.
FILE_KILOBYTES = 128 * 1024
RECORDING_BYTES = FILE_KILOBYTES * 1024
ASSESSMENT_BYTES = 4 * 1024**2
# What the runner works with, not evidence.
LEFT_OUT = ("reserve", "run.lock", "start.lock", "supervisor.lock")
# $1: directory of jobs, $2: the job's; further words for find.
_PACK = r"""
cd -- "$1" && [ -d "$2" ] || exit 44
session=$2
shift 2
find "./$session" -type f -perm -400 "$@" -print0 | tar --null -T - -cf -
"""
_MISSING = 44


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
    """Copy a job's evidence home over an open line. Raises `TooLarge`."""
    target = archive_dir(job.id)
    if not await copy_evidence(connection.transport, connection.layout.path("jobs"), job.session, target):
        return False
    assessment = _slice(target / "assessment.md", 0, ASSESSMENT_BYTES).decode(errors="replace")
    await Job.objects.filter(id=job.id).aupdate(archived_at=timezone.now(), assessment=assessment)
    return True


async def copy_evidence(transport: Transport, jobs: str, session: str, target: Path) -> bool:
    """Replace `target` by the regular files of the directory `session` in `jobs` on a worker.

    Return False when there is no such directory. Raises `TooLarge`; `target` is as it was then.
    """
    tests = [word for name in LEFT_OUT for word in ("!", "-name", name)]
    argv = ["sh", "-c", _PACK, "sh", jobs, session, "-size", f"-{FILE_KILOBYTES}k", *tests]
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=target.parent) as file:
        status, said = await receive(transport, argv, file, ARCHIVE_BYTES)
        # tar exits 1 when a file grew while it was read (the session's recording does).
        if status not in (0, 1):
            if status != _MISSING:
                raise CommandFailed(
                    f"Copying the evidence of {session} from {transport.endpoint} failed: {said}.",
                    exit_status=status,
                )
            return False
        file.seek(0)
        await asyncio.to_thread(_unpack, file, target, session)
    return True


async def receive(transport: Transport, argv: Sequence[str], file: IO[bytes], limit: int) -> tuple[int, str]:
    """Write a command's output to a file; return its exit status and the last line of its stderr.

    Raises `TooLarge` for more than `limit` bytes.
    """
    size = 0
    try:
        async with asyncio.timeout(ARCHIVE_DEADLINE), await transport.spawn(argv) as process:
            async with aclosing(process.chunks()) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise TooLarge(
                            f"Copying from {transport.endpoint} failed: there are more than {limit} bytes.",
                            hint="Remove large files from the job's directory on the worker.",
                        )
                    await asyncio.to_thread(file.write, chunk)
            status = await process.wait()
            lines = process.stderr_tail.decode(errors="replace").strip().splitlines()
    except TimeoutError as error:
        raise TimedOut(
            f"Copying from {transport.endpoint} did not end within {ARCHIVE_DEADLINE:.0f} seconds."
        ) from error
    return status, lines[-1].rstrip(".") if lines else f"exit status {status}"


def _unpack(file: IO[bytes], target: Path, session: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A draft of our own: several commands may bring the same job's evidence home at once.
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as draft:
        with tarfile.open(fileobj=file) as tar:
            _extract(tar, Path(draft))
        (Path(draft) / session).mkdir(exist_ok=True, mode=0o700)
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

    Raises `TooLarge` when the files are too large together.
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
                raise TooLarge(
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


async def read_log(job_id: int, task: str, offset: int = 0, limit: int = OUTPUT_LIMIT) -> bytes:
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


def _slice(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""


def read_assessment(job: Job) -> bytes:
    """Return `assessment.json` of an archived job; empty when it has none or a too large one."""
    data = _slice(archive_dir(job.id) / "assessment.json", 0, ASSESSMENT_BYTES + 1)
    return data if len(data) <= ASSESSMENT_BYTES else b""


async def read_recording(job_id: int) -> bytes:
    """Return the recording of a job's session (asciicast). Raises `NotFound` when there is none."""
    job = await get_job(job_id)
    if job.archived_at is not None:
        data = await asyncio.to_thread(_slice, archive_dir(job.id) / RECORDING, 0, RECORDING_BYTES)
        if data:
            return data
    if job.removed_at is None and job.worktree:
        async with connect(job.worker) as connection:
            path = connection.layout.path("jobs", job.session, RECORDING)
            return await connection.transport.get(path, limit=RECORDING_BYTES)
    raise NotFound(f"{job.session} has no recording.", hint="Only sessions that ran are recorded.")


async def peek(job_id: int, lines: int = 200) -> str:
    """Return the text on the session's screen and the last lines above it."""
    job = await get_job(job_id)
    _must_be_present(job)
    async with connect(job.worker) as connection:
        return await connection.client.peek(job.session, lines=lines)


async def diff(job_id: int, *, limit: int, stat: bool = False) -> bytes:
    """Return the first `limit` bytes of the change under review, as `git diff` prints it."""
    job = await get_job(job_id)
    _must_be_present(job)
    async with connect(job.worker) as connection:
        return await connection.client.diff(job.session, stat=stat, limit=limit)


async def read_commits(job_id: int) -> bytes:
    """Return a git bundle of the commits that were made in a job's worktree: data that its code can write.

    Raises `NotFound` when there are none.
    """
    job = await get_job(job_id)
    _must_be_present(job)
    async with connect(job.worker) as connection:
        await ensure_container(connection, job)
        await ensure_job_container(connection, job, lambda text: None)
        return await connection.client.commits(job.session)


def _must_be_present(job: Job) -> None:
    if job.removed_at is not None:
        raise NotFound(f"{job.session} was removed from its worker.", hint="Its logs are in its archive.")
    if not job.worktree:
        raise Refused(f"{job.session} has no worktree yet: it is {job.state}.", hint="Wait until it runs.")
