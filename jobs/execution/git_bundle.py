"""Repositories of this machine on far workers: what a job needs is sent there as a git bundle.

A far worker cannot fetch from a path of this machine. Home looks the refs up, asks the worker what its
mirror has already, and sends the rest; the runner takes it instead of fetching. Both sides remove the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from jobs.errors import ConnectionLost, NotFound, OffloadError, WorkerUnavailable
from jobs.execution.repositories import is_local_path
from jobs.models import Job
from jobs.remote.answers import Incomplete, translate
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import bundles, fetch
from jobs.remote.offload_runner.git.command import Git, command_line, environment
from jobs.workers import Connection

CHUNK = 256 * 1024
QUESTION_DEADLINE = 30.0
SLOWEST = 100 * 1024  # bytes per second: what a transfer may take as its time
MOST_KNOWN = 500  # commits of the worker that are worth telling git about
# $1: file, $2: its length. Whole or not at all, and readable for the directory's owner.
_TAKE = r"""
umask 077
dir=${1%/*}
mkdir -p -- "$dir" || exit
trap 'exit 1' HUP INT TERM
trap 'rm -f -- "$1.part"' EXIT
cat >"$1.part" || exit
if [ "$(wc -c <"$1.part")" -ne "$2" ]; then echo "the data did not arrive whole" >&2; exit 1; fi
if [ "$(id -u)" = 0 ]; then chown -- "$(stat -c %u:%g -- "$dir")" "$1.part" || exit; fi
mv -f -- "$1.part" "$1"
"""


def is_carried(job: Job) -> bool:
    """Tell whether the job's repository is a directory here that its worker, or its container, cannot see."""
    elsewhere = job.worker.provider != "local" or bool(job.worker.config.get("container"))
    return elsewhere and is_local_path(job.repository.url)


def source_of(job: Job) -> Path:
    """Return the repository's directory on this machine."""
    return Path(job.repository.url.removeprefix("file://"))


async def prepare(
    connection: Connection, job: Job, spec: Mapping[str, Any], on_step: Callable[[str], None]
) -> dict[str, Any]:
    """Have the worktree laid out on the worker, sending the commits when the worker cannot fetch them.

    Raises what `RunnerClient.prepare` raises; `NotFound` for a ref that is not in the repository here.
    """
    if not is_carried(job):
        return await connection.client.prepare(spec, on_step)
    on_step(f"Reading {source_of(job)} on this machine")
    wanted = await asyncio.to_thread(_look_up, job, spec)
    base = {"ref": wanted.pop("base_ref"), "because": wanted.pop("base_because")}
    spec = {**spec, "head": {"ref": wanted.pop("head_ref")}, "base": base}
    for known in (await _known_there(connection, job), []):
        path = connection.layout.path("repos", f".{job.session}.bundle")
        try:
            sent = await _send(connection, job, wanted, known, path, on_step)
            return await connection.client.prepare({**spec, "carried": {**wanted, "file": sent}}, on_step)
        except Incomplete:
            if not known:
                raise
            on_step("The worker has less than it said; sending everything")
        except BaseException:
            with contextlib.suppress(OffloadError):
                await asyncio.shield(connection.transport.run(["rm", "-f", "--", path], check=False))
            raise
    raise AssertionError("unreachable")  # the second round returns or raises


def _look_up(job: Job, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the refs of the repository here that the job needs, with their commits."""
    source = source_of(job)
    try:
        return bundles.look_up(source, spec)
    except RunnerError as error:
        if error.code == "ref_not_found" and job.sha:
            # The worktree may be there from before; the runner knows.
            return {
                "refs": {},
                "head": "",
                "head_ref": str(spec["head"]["ref"]),
                "base_ref": "",
                "base_because": "",
                "shallow": [],
            }
        found = translate(error.to_json())
        if isinstance(found, NotFound):
            found.message = found.message.replace("from the worker ", "")
        raise found from error


async def _known_there(connection: Connection, job: Job) -> list[str]:
    """Return the commits that the worker's mirror has and this repository knows too."""
    mirror = connection.layout.path("repos", f"{job.repository.short}.git")
    git = [connection.layout.git, "-c", "safe.directory=*", "--git-dir", mirror]
    asked = [*git, "for-each-ref", "--format=%(objectname)"]
    done = await connection.transport.run(
        [*asked, f"--count={MOST_KNOWN}", "refs/offload"], check=False, deadline=QUESTION_DEADLINE
    )
    names = sorted(set(done.stdout.decode(errors="replace").split())) if done.exit_status == 0 else []
    names = [name for name in names if fetch.is_sha(name)]
    return await asyncio.to_thread(_here_too, source_of(job), names) if names else []


def _here_too(source: Path, names: Sequence[str]) -> list[str]:
    listed = Git(str(source), is_ours=False).run(
        "cat-file",
        "--batch-check=%(objectname) %(objecttype)",
        input="".join(f"{n}\n" for n in names).encode(),
    )
    lines = [line.split() for line in listed.stdout.decode().splitlines()]
    return [words[0] for words in lines if words[1:] == ["commit"]]


async def _send(
    connection: Connection,
    job: Job,
    wanted: Mapping[str, Any],
    known: Sequence[str],
    path: str,
    on_step: Callable[[str], None],
) -> str:
    """Send what is missing there; return the file's path on the worker, empty when nothing is missing."""
    tips = sorted(set(wanted["refs"].values()))
    if not tips or await asyncio.to_thread(_nothing_new, source_of(job), tips, known):
        return ""
    with tempfile.TemporaryFile() as file:
        size = await _bundle(source_of(job), wanted["refs"], known, file)
        what = "what is new" if known else "its history"
        on_step(f"Sending {what} to {job.worker} ({_shown(size)})")
        await _upload(connection, file, size, path)
    return path


def _nothing_new(source: Path, tips: Sequence[str], known: Sequence[str]) -> bool:
    if not known:
        return False
    words = "".join(f"{tip}\n" for tip in tips) + "".join(f"^{name}\n" for name in known)
    done = Git(str(source), is_ours=False).run("rev-list", "--max-count=1", "--stdin", input=words.encode())
    return not done.stdout.strip()


def _shown(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


async def _bundle(source: Path, refs: Mapping[str, str], known: Sequence[str], file: IO[bytes]) -> int:
    """Write a bundle of exactly these commits without those; return its size in bytes."""
    # By hand, not by `git bundle create`: that names refs only, and drops those without new commits.
    wide = any(len(sha) == 64 for sha in refs.values())
    head = "# v3 git bundle\n@object-format=sha256\n" if wide else "# v2 git bundle\n"
    head += "".join(f"-{name}\n" for name in known)
    head += "".join(f"{sha} {name}\n" for name, sha in sorted(refs.items())) + "\n"
    file.write(head.encode())
    file.flush()
    words = "".join(f"{sha}\n" for sha in refs.values()) + "".join(f"^{name}\n" for name in known)
    pack = ["pack-objects", "--revs", "--stdout", "--thin", "--quiet", "--delta-base-offset"]
    argv = command_line(pack, is_ours=False)
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=source,
        env=environment(user_settings=True),
        stdin=subprocess.PIPE,
        stdout=file,
        stderr=subprocess.PIPE,
    )
    try:
        _, complaint = await process.communicate(words.encode())
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise OffloadError(
            f"Packing {source} for the worker failed: {lines[-1] if lines else 'git said nothing'}.",
            hint="`git fsck` there may tell more.",
        )
    return file.seek(0, 2)


async def _upload(connection: Connection, file: IO[bytes], size: int, path: str) -> None:
    file.seek(0)
    argv = ["sh", "-c", _TAKE, "sh", path, str(size)]
    async with asyncio.timeout(60 + size / SLOWEST), await connection.transport.spawn(argv) as process:
        with contextlib.suppress(ConnectionLost):  # its exit status says more
            while data := await asyncio.to_thread(file.read, CHUNK):
                await process.write(data)
            await process.write_eof()
        status = await process.wait()
        said = process.stderr_tail.decode(errors="replace").strip().splitlines()
    if status == 0:
        return
    why = said[-1] if said else f"exit status {status}"
    if any("No space left" in line or "quota exceeded" in line for line in said):
        why = "the worker's disk is full"
    raise WorkerUnavailable(
        f"Sending the commits to {path} failed: {why}.",
        hint="Remove jobs that are no longer needed, or enlarge the disk; nothing half-made was left.",
    )
