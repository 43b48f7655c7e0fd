"""The process above each task: it starts the task, keeps every descendant below itself, and ends them all.

On Linux the reaper is a child subreaper: a process that the task starts stays its descendant whatever it does
(double fork, `setsid`, a cleared environment). Elsewhere only parents and process groups are followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NoReturn, Optional, Sequence, Set, Tuple

KILL_SECONDS = 5.0
LOST_GRACE_SECONDS = 2.0
_LEFTOVER_GRACE_SECONDS = 5.0
_STEP_SECONDS = 0.01
_SWEEPS = 50
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_HAS_PROC = Path("/proc/self/stat").exists()
EXIT_CANNOT_RUN = 126


@dataclass
class Reaped:
    """A task below its reaper. Descriptors: `status` tells what happens, `command` takes `end`."""

    pid: int
    status: int
    command: int

    def end(self, grace: float) -> None:
        """Have the reaper end the task: SIGTERM now, SIGKILL after `grace` seconds."""
        with contextlib.suppress(OSError):
            os.write(self.command, b"%f\n" % grace)


def protect() -> None:
    """Keep other processes of this user from tracing this one, and adopt orphaned descendants."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(
    argv: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    *,
    stdin: int,
    output: int,
    user: Optional[Tuple[int, int]] = None,
    tty: bool = False,
    within: Optional[Callable[[], int]] = None,
) -> Reaped:
    """Fork a reaper that runs `argv` with the descriptors `stdin` and `output`; both stay the caller's.

    `user` (uid, gid): whom the task runs as; `within`: what its first process calls instead of executing
    `argv`, and whose result is its exit code. The reaper writes JSON lines to `status`: `{"pid"}` or
    `{"errno", "error"}` first, `{"left": n}` when the first process ended and left processes behind, and
    `{"code", "survivors"}` last, when it has seen that none is left. It ends the task when `command` closes.
    """
    status, status_end = os.pipe()
    command_end, command = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            _run(list(argv), cwd, dict(env), stdin, output, user, tty, within, status_end, command_end)
        except BaseException as error:
            with contextlib.suppress(BaseException):
                _tell(status_end, {"errno": 0, "error": repr(error)})
        finally:
            os._exit(70)
    os.close(status_end)
    os.close(command_end)
    for descriptor in (status, command):
        os.set_inheritable(descriptor, False)
    return Reaped(pid, status, command)


def _tell(descriptor: int, message: Mapping[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, json.dumps(message).encode() + b"\n")


def _run(
    argv: List[str],
    cwd: str,
    env: Dict[str, str],
    stdin: int,
    output: int,
    user: Optional[Tuple[int, int]],
    tty: bool,
    within: Optional[Callable[[], int]],
    status: int,
    command: int,
) -> NoReturn:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    # Descriptors of the caller and of its other tasks end with the caller, not with this task.
    stdin, output, status, command = _keep_only(stdin, output, status, command)
    protect()
    wake, wake_end = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_end, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    failed, failed_end = os.pipe()  # closed by a successful exec
    os.set_inheritable(failed_end, False)
    first = os.fork()
    if first == 0:
        _become(argv, cwd, env, stdin, output, user, tty, within, failed_end)
    for descriptor in (stdin, output, failed_end):
        os.close(descriptor)
    told = os.read(failed, 4096)
    os.close(failed)
    if told:
        os.waitpid(first, 0)
        error, _, text = told.decode("utf-8", "replace").partition(" ")
        _tell(status, {"errno": int(error), "error": text})
        os._exit(0)
    _tell(status, {"pid": first})
    _Watch(first, status, command, wake).run()
    os._exit(0)


def _keep_only(*kept: int) -> List[int]:
    """Close every descriptor but those; return them as they are now: from 3 on."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64) for descriptor in kept]
    os.closerange(0, 64)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in high]
    os.closerange(64, max(1024, *high) + 1)
    return moved


def _become(
    argv: List[str],
    cwd: str,
    env: Dict[str, str],
    stdin: int,
    output: int,
    user: Optional[Tuple[int, int]],
    tty: bool,
    within: Optional[Callable[[], int]],
    failed: int,
) -> NoReturn:
    """Turn this process into the task."""
    above = os.getppid()
    try:
        os.setsid()
        if tty:
            fcntl.ioctl(stdin, termios.TIOCSCTTY, 0)
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.set_wakeup_fd(-1)
        for number in range(1, signal.NSIG):
            with contextlib.suppress(OSError, ValueError):
                if signal.getsignal(number) is not signal.SIG_DFL:
                    signal.signal(number, signal.SIG_DFL)
        if user is not None and user[0] != os.geteuid():
            os.setgroups([])
            os.setgid(user[1])
            os.setuid(user[0])
        os.umask(0o077)
        os.chdir(cwd)
        if within is not None:
            _call(within, env, above)
        os.execvpe(argv[0], argv, env)  # noqa: S606 - a list of words
    except OSError as error:
        os.write(failed, ("%d %s" % (error.errno or 0, error.strerror)).encode())
    finally:
        os._exit(EXIT_CANNOT_RUN)


def _call(within: Callable[[], int], env: Mapping[str, str], above: int) -> NoReturn:
    """Be the task without executing a program; `above`: the reaper, without which this process ends."""
    # Its environment as /proc shows it is the supervisor's and has no mark: nothing finds it once its reaper
    # was killed. It cannot be traced by other processes of its user, unlike a program that was executed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != above:
        os._exit(EXIT_CANNOT_RUN)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(env)
    os._exit(within())


class _Watch:
    """Waits for a task's first process, then ends what is left below this process."""

    def __init__(self, first: int, status: int, command: int, wake: int) -> None:
        self._first = first
        self._status = status
        self._command = command
        self._wake = wake
        self._code: Optional[int] = None
        self._kill_at: Optional[float] = None
        self._told: Set[int] = set()
        self._pending = b""

    def run(self) -> None:
        """Return when nothing of the task is left, or something survives SIGKILL; `status` says which."""
        while True:
            self._reap()
            if self._code is not None and self._kill_at is None:
                left = descendants(os.getpid(), self._first)
                if left:
                    _tell(self._status, {"left": len(left)})
                self._end(_LEFTOVER_GRACE_SECONDS)
            if self._kill_at is not None and self._is_over():
                return
            watched = [self._wake] if self._command < 0 else [self._wake, self._command]
            timeout = None if self._kill_at is None else _STEP_SECONDS
            ready, _, _ = select.select(watched, [], [], timeout)
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            if self._command in ready:
                self._take_command()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._first:
                self._code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _take_command(self) -> None:
        data = os.read(self._command, 4096)
        if not data:
            os.close(self._command)
            self._command = -1
            self._end(LOST_GRACE_SECONDS)
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._end(float(line))

    def _end(self, grace: float) -> None:
        at = time.monotonic() + grace
        self._kill_at = at if self._kill_at is None else min(at, self._kill_at)

    def _is_over(self) -> bool:
        # Zombies count: one whose first thread ended while others go on looks like one and cannot be reaped.
        alive = descendants(os.getpid(), self._first)
        self._reap()
        if not alive:
            _tell(self._status, {"code": self._code, "survivors": []})
            return True
        clock, kill_at = time.monotonic(), self._kill_at or 0.0
        if clock >= kill_at + KILL_SECONDS:
            _tell(self._status, {"code": self._code, "survivors": sorted(alive)})
            return True
        if clock >= kill_at:
            kill_below(os.getpid(), self._first)
        else:
            # Once each: a program that cleans up must not be interrupted again and again.
            _signal(alive - self._told, signal.SIGTERM)
            self._told |= alive
        return False


def descendants(pid: int, group: int = 0) -> Set[int]:
    """Return every process below `pid`; without /proc also those of the process group `group`."""
    children: Dict[int, List[int]] = {}
    found: Set[int] = set()
    for child, parent, its_group in _processes():
        children.setdefault(parent, []).append(child)
        if not _HAS_PROC and group and its_group == group:
            found.add(child)
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def kill_below(pid: int, group: int = 0) -> None:
    """Send SIGKILL to everything below `pid`, stopping it first so that nothing new is started meanwhile."""
    stopped: Set[int] = set()
    for _ in range(_SWEEPS):
        fresh = descendants(pid, group) - stopped
        if not fresh:
            break
        _signal(fresh, signal.SIGSTOP)
        stopped |= fresh
    _signal(descendants(pid, group), signal.SIGKILL)


def kill_orphans(reapers: Set[int]) -> None:
    """End the processes below this one that none of these reapers has below itself."""
    end = time.monotonic() + KILL_SECONDS
    while time.monotonic() < end:
        for child in descendants(os.getpid()) - reapers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)
        orphans = descendants(os.getpid()) - reapers
        for each in reapers:
            orphans -= descendants(each)
        if not orphans:
            return
        _signal(orphans, signal.SIGKILL)
        time.sleep(_STEP_SECONDS)


def kill_strays() -> None:
    """End the processes of a container that lost both their reaper and their supervisor.

    Those are the children of the container's init, but for the first one, which keeps the container up.
    """
    children = sorted((_started(pid), pid) for pid, parent, _ in _processes() if parent == 1)
    for _, pid in children[1:]:
        for each in {pid} | descendants(pid):
            _signal({each}, signal.SIGKILL)


def _started(pid: int) -> int:
    try:
        with open("/proc/%d/stat" % pid) as file:
            text = file.read()
    except OSError:
        return 1 << 62
    return int(text[text.rfind(")") + 2 :].split()[19])


def _signal(pids: Set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _processes() -> List[Tuple[int, int, int]]:
    """Return pid, parent and process group of every process."""
    found: List[Tuple[int, int, int]] = []
    if not _HAS_PROC:
        done = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,pgid="], capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            pid, parent, group = (int(word) for word in line.split())
            found.append((pid, parent, group))
        return found
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            descriptor = os.open("/proc/%s/stat" % name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            text = os.read(descriptor, 1024)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        # The program's name may hold blanks and parentheses; the last one closes it.
        fields = text[text.rfind(b")") + 2 :].split()
        found.append((int(name), int(fields[1]), int(fields[2])))
    return found
