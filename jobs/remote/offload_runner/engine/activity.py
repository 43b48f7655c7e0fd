"""What uses this machine: jobs, terminals, programs in panes, ssh logins.

Each use is a reason not to turn it off.
"""

from __future__ import annotations

import glob
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence

from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import all_jobs
from jobs.remote.offload_runner.screen.tmux import Tmux

_TMUX_DEADLINE = 15.0
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "fish", "ksh", "csh", "tcsh"))
# A program that waits for an answer prints nothing. After this long it counts as forgotten. Seconds.
_LONGEST_SILENCE = 12 * 3600.0
_PANES = "#{session_attached}\t#{pane_dead}\t#{pane_pid}\t#{window_activity}\t#{session_name}"

Reason = Dict[str, str]


@dataclass(frozen=True)
class Pane:
    """One pane of a tmux server. `pid`: its first process; `activity`: Unix time of its last output."""

    session: str
    attached: bool
    dead: bool
    pid: int
    activity: float


class Process(NamedTuple):
    """One process. `foreground`: the process group in front of its terminal (-1: it has no terminal)."""

    parent: int
    foreground: int
    command: str


def running_jobs(root: Path) -> List[Reason]:
    """Return a reason for each job whose runner holds its lock."""
    return [
        {"kind": "job", "text": "%s is at work" % paths.session}
        for paths in all_jobs(root)
        if is_held(paths.lock)
    ]


def list_panes(tmux: Tmux, sockets: str = "/tmp/tmux-*/*") -> List[Pane]:  # noqa: S108 - tmux's own directory
    """Return the panes of Offload's tmux servers and, for root, of each server of every user."""
    outputs = []
    try:
        done = tmux.call("list-panes", "-a", "-F", _PANES)
        outputs.append(done.stdout if done.returncode == 0 else "")
    except RunnerError:
        pass
    paths = glob.glob(str(tmux.root / "tmux" / "*.sock"))
    if os.geteuid() == 0:
        paths += glob.glob(sockets)
    outputs += [_list_panes_at(tmux.program, path) for path in sorted(paths)]
    found = {pane.pid: pane for output in outputs for pane in _parse_panes(output)}
    return list(found.values())


def _list_panes_at(program: str, socket: str) -> str:
    try:
        done = subprocess.run(
            [program, "-S", socket, "list-panes", "-a", "-F", _PANES],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TMUX_DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _parse_panes(output: str) -> Iterator[Pane]:
    for line in output.splitlines():
        fields = line.split("\t", 4)
        if len(fields) == 5 and fields[2].isdigit():
            attached, dead, pid, activity, name = fields
            seconds = float(activity) if activity.isdigit() else 0.0
            yield Pane(name, attached not in ("", "0"), dead == "1", int(pid), seconds)


def read_processes(proc: Path) -> Dict[int, Process]:
    """Return every process below `proc` by its number."""
    found: Dict[int, Process] = {}
    for entry in os.scandir(str(proc)):
        if not entry.name.isdigit():
            continue
        try:
            with open(os.path.join(entry.path, "stat"), errors="replace") as file:
                # The program's name may hold blanks and parentheses; the last one closes it.
                fields = file.read().rpartition(")")[2].split()
            with open(os.path.join(entry.path, "cmdline"), "rb") as raw:
                words = raw.read().replace(b"\0", b" ").decode(errors="replace").strip()
            foreground = int(fields[5]) if len(fields) > 5 else -1
            found[int(entry.name)] = Process(int(fields[1]), foreground, words)
        except (OSError, ValueError, IndexError):
            continue
    return found


def attached_terminals(panes: Sequence[Pane]) -> List[Reason]:
    """Return a reason for each session that a terminal is attached to."""
    names = sorted({pane.session for pane in panes if pane.attached})
    return [{"kind": "terminal", "text": "a terminal is attached to %s" % name} for name in names]


def programs_in_panes(panes: Sequence[Pane], processes: Dict[int, Process], now: float) -> List[Reason]:
    """Return a reason for each detached session in which a program runs that is neither a shell nor ours.

    Such a program may be an agent that waits for an answer and prints nothing meanwhile. `now`: Unix time.
    """
    programs: Dict[str, str] = {}
    for pane in panes:
        first = processes.get(pane.pid)
        if pane.attached or pane.dead or first is None or now - pane.activity > _LONGEST_SILENCE:
            continue
        command = processes.get(first.foreground, first).command
        name = os.path.basename(command.split(" ")[0]).lstrip("-")
        if name and name not in _SHELLS and not _is_runner(command):
            programs[pane.session] = name
    return [
        {"kind": "pane", "text": "%s runs in the session %s" % (program, session)}
        for session, program in sorted(programs.items())
    ]


def last_output(panes: Sequence[Pane], now: float) -> float:
    """Return when a pane last showed something new, Unix time in seconds; 0 when none did before `now`."""
    return max((pane.activity for pane in panes if not pane.dead and pane.activity <= now), default=0.0)


def ssh_logins(processes: Dict[int, Process]) -> List[Reason]:
    """Return a reason for each ssh login that is used.

    A login with a terminal is; one without (`@notty`) is when it runs something other than our own
    `follow`: the dashboard listens day and night, and must not keep a machine up.
    """
    reasons = []
    for pid, process in sorted(processes.items()):
        name, _, rest = process.command.partition(": ")
        if name not in ("sshd", "sshd-session") or "@" not in rest:
            continue
        user, _, where = rest.split()[0].partition("@")
        if where.startswith("notty"):
            children = [child.command for child in processes.values() if child.parent == pid]
            if any(not (_is_runner(command) and " follow" in command) for command in children):
                reasons.append({"kind": "ssh", "text": "%s runs a command by ssh" % user})
        else:
            reasons.append({"kind": "ssh", "text": "%s is logged in by ssh (%s)" % (user, where)})
    return reasons


def _is_runner(command: str) -> bool:
    return "runner-" in command and ".pyz" in command
