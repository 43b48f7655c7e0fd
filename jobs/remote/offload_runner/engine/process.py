"""Processes of tasks: who they are, which belong together, and ending them for certain.

A task's processes are those in its session (`setsid` makes the first one's pid its number) and those that
carry its mark in their environment, which finds daemons that made a session of their own. A pid alone is
never trusted: it is killed only while its start time is the one that was recorded.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List, Optional, Set

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


class Ending:
    """Ends the processes of one task: SIGTERM, after `grace` seconds SIGKILL, until none is left.

    `step` never waits, so that several endings and a screen can go on side by side.
    """

    def __init__(self, leader: int, mark: str, grace: float) -> None:
        self.leader = leader
        self.mark = mark
        self._kill_at = time.monotonic() + grace
        self._give_up_at = self._kill_at + _KILL_SECONDS
        self._told: Set[int] = set()
        self._next_look = 0.0
        self.done = False
        self.survivors: Set[int] = set()

    def alive(self) -> Set[int]:
        """Return what still runs of the task."""
        found = members(self.leader) if self.leader else set()
        return found | marked(self.mark)

    def step(self) -> bool:
        """Look, signal, and return whether nothing is left (or nothing more can be done: `survivors`)."""
        if self.done:
            return True
        clock = time.monotonic()
        if clock < self._next_look:
            return False
        self._next_look = clock + _STEP_SECONDS
        alive = self.alive()
        if not alive:
            self.done = True
        elif clock >= self._give_up_at:
            self.survivors, self.done = alive, True
        elif clock >= self._kill_at:
            signal_all(alive, signal.SIGKILL)
        else:
            # Once each: a program that cleans up must not be told again and again.
            signal_all(alive - self._told, signal.SIGTERM)
            self._told |= alive
        return self.done

    def wait(self) -> Set[int]:
        """Run to the end; return what could not be ended."""
        while not self.step():
            time.sleep(_STEP_SECONDS)
        return self.survivors


def end_recorded(task: Dict[str, object], mark: str, grace: float) -> Set[int]:
    """End what a killed runner left of a task; `task` holds the `pid` and `identity` it recorded."""
    pid = task.get("pid")
    leader = 0
    # The group lives on when its first process is gone, and the number cannot be given away meanwhile;
    # but then only the mark proves that the group is ours.
    if isinstance(pid, int) and is_same(pid, str(task.get("identity", ""))):
        leader = pid
    return Ending(leader, mark, grace).wait()
