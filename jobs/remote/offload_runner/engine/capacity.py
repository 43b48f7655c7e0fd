"""What this machine has, and what of it is free now."""

from __future__ import annotations

import os
from typing import Dict

_MEMINFO = "/proc/meminfo"
_KIB = 1024


def measure(root: str) -> Dict[str, float]:
    """Return `cores`, their `load` (averaged over a minute), `memory` and `free` memory in bytes.

    And the `disk` that holds `root`, and what of it is free for its user (`disk_free`). What this system does
    not tell is left out.
    """
    found: Dict[str, float] = {"cores": float(_count_cores())}
    try:
        found["load"] = os.getloadavg()[0]
    except OSError:
        pass
    try:
        with open(_MEMINFO, encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        found["memory"] = int(lines["MemTotal"].split()[0]) * _KIB
        found["free"] = int(lines["MemAvailable"].split()[0]) * _KIB
    except (OSError, ValueError, KeyError, IndexError):
        pass
    while not os.path.exists(root) and os.path.dirname(root) != root:
        root = os.path.dirname(root)  # before the first job
    try:
        disk = os.statvfs(root)
        found["disk"], found["disk_free"] = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    except OSError:
        pass
    return found


def _count_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
