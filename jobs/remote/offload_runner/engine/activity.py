"""What uses this machine: jobs, terminals, programs in panes, ssh logins.

Each use is a reason not to turn it off.
"""

from __future__ import annotations

import glob
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence

from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import all_jobs
from jobs.remote.offload_runner.screen.tmux import Tmux

_TMUX_DEADLINE = 15.0
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "fish", "ksh", "csh", "tcsh"))
_PAGERS = frozenset(("less", "more", "tail"))  # what the pane of a finished job shows a log with
# A program that waits for an answer prints nothing. After this long it counts as forgotten. Seconds.
_LONGEST_SILENCE = 12 * 3600.0
_PANES = "#{session_attached}\t#{pane_dead}\t#{pane_pid}\t#{window_activity}\t#{session_name}"

Reason = Dict[str, str]


@dataclass(frozen=True)
class Pane:
    """One pane of a tmux server. `pid`: its first process; `activity`: tmux's stamp of its last output."""

    session: str
    attached: bool
    dead: bool
    pid: int
    activity: float


class Process(NamedTuple):
    """One process. `terminal`: the number of its terminal (0: it has none); `owner`: its user's number."""

    parent: int
    terminal: int
    owner: int
    command: str

    @property
    def name(self) -> str:
        """Return the name of its program; empty for a process that ended."""
        return os.path.basename(self.command.split(" ")[0]).lstrip("-")


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
            owner = os.stat(entry.path).st_uid
            found[int(entry.name)] = Process(int(fields[1]), int(fields[4]), owner, words)
        except (OSError, ValueError, IndexError):
            continue
    return found


def attached_terminals(panes: Sequence[Pane]) -> List[Reason]:
    """Return a reason for each session that a terminal is attached to."""
    names = sorted({pane.session for pane in panes if pane.attached})
    return [{"kind": "terminal", "text": "a terminal is attached to %s" % name} for name in names]


def follow_output(panes: Sequence[Pane], before: Mapping[str, Any], clock: float) -> Dict[str, List[float]]:
    """Return the stamp of each pane's last output, and when it was first seen, by the pane's process.

    `before`: what this function returned at the last look; `clock`: the monotonic clock in seconds. Stamps
    are compared with each other only: a step of the wall clock is neither silence nor output.
    """
    found: Dict[str, List[float]] = {}
    for pane in panes:
        known = before.get(str(pane.pid))
        if not pane.dead:
            found[str(pane.pid)] = known if known and known[0] == pane.activity else [pane.activity, clock]
    return found


def programs_in_panes(
    panes: Sequence[Pane], processes: Dict[int, Process], output: Mapping[str, Sequence[float]], clock: float
) -> List[Reason]:
    """Return a reason for each detached session in which a program runs that is neither a shell nor ours.

    Such a program may be an agent that waits for an answer and prints nothing meanwhile, a build in the
    background, or either of them in a shell in the job's container. `output`: see `follow_output`.
    """
    programs: Dict[str, str] = {}
    for pane in panes:
        first = processes.get(pane.pid)
        if pane.attached or pane.dead or first is None:
            continue
        if clock - output[str(pane.pid)][1] > _LONGEST_SILENCE:
            continue
        in_pane = [process for process in processes.values() if process.terminal == first.terminal != 0]
        for process in [first, *in_pane, *_in_container_shells(pane.session, processes)]:
            name = process.name
            if name and name not in _SHELLS | _PAGERS and not _is_runner(process.command):
                programs[pane.session] = name
    return [
        {"kind": "pane", "text": "%s runs in the session %s" % (program, session)}
        for session, program in sorted(programs.items())
    ]


def _in_container_shells(session: str, processes: Dict[int, Process]) -> Iterator[Process]:
    """Yield what runs in a terminal below the shells that were opened in a session's container.

    Their supervisor is a child of the engine, not of the pane. A job's process can have the same name, but
    has another user.
    """
    words = " supervise --session %s --in-container --shell" % session
    below = {
        pid
        for pid, process in processes.items()
        if process.owner == os.geteuid() and _is_runner(process.command) and process.command.endswith(words)
    }
    size = 0
    while len(below) > size:
        size = len(below)
        below |= {pid for pid, process in processes.items() if process.parent in below}
    return (processes[pid] for pid in below if processes[pid].terminal)


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
        above = processes.get(process.parent)
        # A job can name a process like this; its parent is not the ssh server.
        if above is None or not above.command.startswith("sshd") or above.owner != os.geteuid():
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
