"""Processes of tasks: who they are, which belong together, and ending them for certain.

A task's processes are those in its session (`setsid` makes the first one's pid its number) and those that
carry its mark in their environment, which finds daemons that made a session of their own. A pid alone is
never trusted: it is killed only while its start time is the one that was recorded.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import List, Optional, Set

MARK = "OFFLOAD_TASK"
_PROC = Path("/proc")
_HAS_PROC = Path("/proc/self/stat").exists()
_STEP_SECONDS = 0.02
_KILL_SECONDS = 5.0


def _stat(pid: int) -> Optional[List[str]]:
    """Return the fields of /proc/PID/stat from the third on (state, ppid, pgrp, session, ...)."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The program's name may hold blanks and parentheses; the last one closes it.
    return text[text.rfind(")") + 2 :].split()


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""


def identity(pid: int) -> str:
    """Return a text that no other process will ever have: boot and start time. Empty: not running."""
    if _HAS_PROC:
        fields = _stat(pid)
        return "" if fields is None or fields[0] == "Z" else "%s:%s" % (_boot(), fields[19])
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    text = done.stdout.strip()
    return "" if not text or text.startswith("Z") else " ".join(text.split()[1:])


def is_same(pid: int, known: str) -> bool:
    """Tell whether the process recorded as `pid` with this identity still runs."""
    return bool(known) and identity(pid) == known


def _pids() -> List[int]:
    if _HAS_PROC:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def members(leader: int) -> Set[int]:
    """Return the live processes in the session or the group that `leader` began."""
    if not _HAS_PROC:
        done = subprocess.run(
            ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=False
        )
        rows = [line.split() for line in done.stdout.splitlines()]
        return {int(row[0]) for row in rows if int(row[1]) == leader and not row[2].startswith("Z")}
    found = set()
    for pid in _pids():
        fields = _stat(pid)
        if fields and fields[0] not in "ZX" and leader in (int(fields[2]), int(fields[3])):
            found.add(pid)
    return found


def marked(mark: str, *, prefix: bool = False) -> Set[int]:
    """Return the live processes that carry this mark (or one that begins so) since they were started."""
    wanted = ("%s=%s" % (MARK, mark)).encode()
    found = set()
    own = os.getpid()
    for pid in _pids():
        try:
            entries = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if pid != own and any(entry == wanted or (prefix and entry.startswith(wanted)) for entry in entries):
            fields = _stat(pid)
            if fields and fields[0] not in "ZX":
                found.add(pid)
    return found


def signal_all(pids: Set[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue
