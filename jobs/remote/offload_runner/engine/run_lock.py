"""The lock that means: a runner is at work for this job. The kernel frees it, however the runner dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Dict, Optional

from jobs.remote.offload_runner.engine.process import identity, is_same
from jobs.remote.offload_runner.files.paths import give_away

# A look at the lock holds it for some microseconds; who wants it for good tries a little longer.
_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.02
_LOCKS = Path("/proc/locks")


class RunLock:
    """An exclusive lock on `run.lock`; the file says which process holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: Optional[int] = None

    def acquire(self, patience: float = _PATIENCE_SECONDS) -> bool:
        """Take the lock; return whether it was free within `patience` seconds."""
        descriptor = os.open(str(self.path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_away(self.path)
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    os.close(descriptor)
                    return False
                time.sleep(_POLL_SECONDS)
        self._descriptor = descriptor
        holder = {"pid": os.getpid(), "identity": identity(os.getpid())}
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        except OSError:
            # A full disk: the lock counts, the name in it is a convenience.
            pass
        return True

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    """Tell whether a runner is at work."""
    try:
        descriptor = os.open(str(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that several onlookers do not mistake each other for a runner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def wait_until_free(path: Path, seconds: float = 15.0) -> bool:
    """Wait until no process holds a lock on the file; return whether that is so."""
    end = time.monotonic() + seconds
    try:
        descriptor = os.open(str(path), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > end:
                    return False
                time.sleep(_POLL_SECONDS)
    finally:
        os.close(descriptor)


def holder(path: Path) -> Dict[str, Any]:
    """Return the `pid` and `identity` of the process that last held the lock; empty when unknown."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def holding_process(path: Path) -> int:
    """Return the process that holds the lock, 0 when none is known.

    The kernel says it where it does; the file, which a job on a bare worker can write, is asked elsewhere.
    """
    try:
        about = os.stat(str(path))
        lines = [line.split() for line in _LOCKS.read_text().splitlines()]
    except OSError:
        lines = []
    locks = [words for words in lines if len(words) == 8 and words[1] == "FLOCK"]
    if not locks:
        known = holder(path)
        pid = known.get("pid")
        return pid if isinstance(pid, int) and is_same(pid, str(known.get("identity", ""))) else 0
    place = "%02x:%02x:%d" % (os.major(about.st_dev), os.minor(about.st_dev), about.st_ino)
    return next((int(words[4]) for words in locks if words[5] == place), 0)
