"""Locks between processes: flock on a file, bounded, released by the kernel when the holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Callable, Iterator, Optional

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.protocol import EXIT_LOCKED

WAIT_SECONDS = 1800.0
_POLL_SECONDS = 0.05


@contextlib.contextmanager
def held(
    path: str, *, what: str, seconds: float = WAIT_SECONDS, on_wait: Optional[Callable[[], None]] = None
) -> Iterator[None]:
    """Hold the lock at `path` for the body, after at most `seconds` of waiting (then `RunnerError` `locked`).

    `on_wait` is called once if another process holds it. The file may be removed while a process
    waits for it: a lock counts only when it is on the file that has the name now.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    end = time.monotonic() + seconds
    told = False
    descriptor = _take(path)
    while descriptor is None:
        if not told and on_wait is not None:
            on_wait()
        told = True
        if time.monotonic() > end:
            raise RunnerError(
                "locked",
                "%s is in use by another job and was not free within %d seconds." % (what, seconds),
                hint="Try again when the other job has gone on.",
                exit_code=EXIT_LOCKED,
            )
        time.sleep(_POLL_SECONDS)
        descriptor = _take(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _take(path: str) -> Optional[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if _same_file(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _same_file(descriptor: int, path: str) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
