"""Secrets on the worker: in memory only, for the moment between their delivery and their reader's start.

`secrets` keeps what came on stdin in files of mode 0600 on a tmpfs, one for each reader: the runner, which
gives each task what it names, and the recorder, which must know what to leave out. A reader deletes its
file as it reads it. An unread file goes with `stop`, `clean`, or the next delivery.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import stat
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job
from jobs.remote.offload_runner.protocol import EXIT_DATA, EXIT_UNAVAILABLE, EXIT_USAGE, Plan

RUN = "run"
RECORD = "record"
READERS = (RUN, RECORD)
# Elsewhere there is no tmpfs: a directory that only the user can enter has to do, and the answer says so.
_ON_LINUX = platform.system() == "Linux"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what is used in it is checked to be ours
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = ("tmpfs", "ramfs")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_DARWIN_USER_TEMP_DIR = 65537  # <unistd.h> of macOS


def main(options: argparse.Namespace) -> int:
    """Keep `{"secrets": {name: value}, "for": [readers]}`, in place of what was kept for them before.

    Answers `{"type": "kept", "session", "names", "in_memory"}`: never a value.
    """
    spec = wire.read_spec()
    paths = existing_job(options.root, options.session)
    values, readers = _checked(spec.get("secrets"), spec.get("for"))
    drop(paths, readers)
    in_memory = True
    if values:
        place = _make_place()
        in_memory = _is_in_memory(place)
        folder = place / _of_root(paths)
        folder.mkdir(mode=0o700, exist_ok=True)
        for reader in readers:
            _write(folder / _file(paths, reader), values)
    answer: Dict[str, Any] = {"type": "kept", "session": paths.session, "names": sorted(values)}
    wire.emit({**answer, "in_memory": in_memory})
    return 0


def take(paths: JobPaths, reader: str) -> Dict[str, str]:
    """Return the secrets that were kept for a reader, and delete them. None kept: empty."""
    for place in _places():
        path = place / _of_root(paths) / _file(paths, reader)
        try:
            descriptor = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                continue
            data = file.read()
        drop(paths, [reader])
        with contextlib.suppress(ValueError):
            values = json.loads(data)
            if isinstance(values, dict):
                return {str(name): str(value) for name, value in values.items()}
    return {}


def drop(paths: JobPaths, readers: Iterable[str] = READERS) -> None:
    """Delete what was kept for a job and not read. Absent is success."""
    for place in _places():
        folder = place / _of_root(paths)
        for reader in readers:
            with contextlib.suppress(OSError):
                (folder / _file(paths, reader)).unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()


def check(plan: Plan, unfinished: Iterable[str], values: Iterable[str]) -> None:
    """Raise `RunnerError` when a task that has yet to run names a secret that was not delivered."""
    known, waiting = set(values), set(unfinished)
    for task in plan.tasks:
        missing = [name for name in task.secret_names if name not in known]
        if missing and task.id in waiting:
            raise RunnerError(
                "secrets_missing",
                "The task %s needs the secret %s, which was not delivered." % (task.id, ", ".join(missing)),
                "Start the job again with `manage.py offload`: secrets are delivered at each start.",
                EXIT_DATA,
            )


def _checked(values: Any, readers: Any) -> Tuple[Dict[str, str], List[str]]:
    if (
        not isinstance(values, dict)
        or not all(
            _NAME.fullmatch(str(n)) and isinstance(v, str) and "\0" not in v for n, v in values.items()
        )
        or not isinstance(readers, list)
        or not all(reader in READERS for reader in readers)
    ):
        raise RunnerError("usage", "The secrets on stdin are not what they must be.", "", EXIT_USAGE)
    return values, readers


def _of_root(paths: JobPaths) -> str:
    # Two roots on one machine may have sessions of the same name.
    return hashlib.sha256(os.fsencode(str(paths.root))).hexdigest()[:16]


def _file(paths: JobPaths, reader: str) -> str:
    return "%s.%s" % (paths.session, reader)


def _places() -> List[Path]:
    # The environment is not asked: the reader's is not the writer's.
    user = os.geteuid()
    if _ON_LINUX:
        login = Path("/run/user/%d" % user)
        return [login / "offload", _SHARED_MEMORY / ("offload-%d" % user)]
    try:
        temporary = os.confstr(_DARWIN_USER_TEMP_DIR)
    except (ValueError, OSError):
        temporary = None
    return [Path(temporary or "/tmp") / ("offload-%d" % user)]  # noqa: S108 - checked as above


def _make_place() -> Path:
    """Return a directory that only we can enter: in memory where the system has such a place."""
    for place in _places():
        with contextlib.suppress(OSError):
            os.mkdir(str(place), 0o700)
        if _is_ours(place) and (not _ON_LINUX or _is_in_memory(place)):
            return place
    raise RunnerError(
        "no_memory_disk",
        "There is no directory in memory (tmpfs) on the worker that only its user can read.",
        "Looked at: %s. Make /dev/shm a tmpfs that the user may write to." % ", ".join(map(str, _places())),
        EXIT_UNAVAILABLE,
    )


def _is_ours(place: Path) -> bool:
    try:
        found = os.lstat(str(place))
    except OSError:
        return False
    private = not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and private


def _is_in_memory(place: Path) -> bool:
    """Tell whether a path is on a file system that is never on a disk (swap aside)."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    kind, longest = "", -1
    real = os.path.realpath(str(place))
    for line in lines:
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")
        # Of several file systems mounted at one point the last is the one that is seen.
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= longest:
            kind, longest = fields[2], len(point)
    return kind in _IN_MEMORY


def _write(path: Path, values: Dict[str, str]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(str(path), flags, 0o600), "w", encoding="utf-8") as file:
        json.dump(values, file)
