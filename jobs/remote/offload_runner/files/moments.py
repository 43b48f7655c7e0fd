"""Moments of a file system's own clock, which no program without privileges can set."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

_TICK_SECONDS = 0.001


def moment(folder: Path) -> int:
    """Return a time (ns): no later change of an inode on the file system of `folder` is at or before it.

    That clock advances in steps of some milliseconds, which this waits for.
    """
    with tempfile.TemporaryFile(dir=str(folder)) as file:
        found = os.fstat(file.fileno()).st_ctime_ns
        while os.fstat(file.fileno()).st_ctime_ns <= found:
            time.sleep(_TICK_SECONDS)
            os.fchmod(file.fileno(), 0o600)
        return found
