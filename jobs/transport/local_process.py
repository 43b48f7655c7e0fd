"""Child processes of this machine: their environment, their pipes, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from jobs.errors import ConnectionLost
from jobs.transport.base import STDERR_TAIL, Process

GRACE = 1.0  # seconds between SIGTERM and SIGKILL
LAST_WORDS_SECONDS = 0.5
HIGH_WATER = 256 * 1024
NOT_OURS = ("DJANGO_SETTINGS_MODULE", "RUN_MAIN", "TMUX", "TMUX_PANE", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT")

_GROUP, _SESSION = 2, 3  # fields of /proc/PID/stat after the name

# What a shell answers for a program that is not there (127) or cannot be run (126).
_MISSING = 'printf "%s: %s\\n" "$0" "$1" >&2; exit "$2"'


def inherited_environment() -> dict[str, str]:
    """Return the environment of a command: ours, without what belongs to Offload's own process.

    A job that tests a Django project must not find our settings module, nor our virtual environment's
    `python` first on its PATH, and tmux must not think that it is nested.
    """
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in NOT_OURS and not key.startswith("OFFLOAD_")
    }
    if sys.prefix != sys.base_prefix and "PATH" in env:
        ours = os.path.join(sys.prefix, "bin")
        env["PATH"] = os.pathsep.join(part for part in env["PATH"].split(os.pathsep) if part != ours)
    return env


def home() -> str:
    """Return where commands start, as after a login."""
    home = str(Path.home())
    return home if os.path.isdir(home) else "/"


class LocalProcess(Process):
    """A running command with pipes on this machine."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._queued = 0
        self._stderr = bytearray()
        self._news = asyncio.Event()
        self.protocol = ChildProtocol(self._take_stdout, self._take_stderr, self._news.set)

    def _take_stdout(self, data: bytes) -> None:
        self._chunks.append(data)
        self._queued += len(data)
        if self._queued > HIGH_WATER:
            self.protocol.pause(1)
        self._news.set()

    def _take_stderr(self, data: bytes) -> None:
        self._stderr += data
        del self._stderr[:-STDERR_TAIL]

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield stdout as it arrives."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._queued -= len(chunk)
                if self._queued <= HIGH_WATER // 2:
                    self.protocol.resume(1)
                yield chunk
            if 1 in self.protocol.ended:
                break
            self._news.clear()
            await self._news.wait()

    async def write(self, data: bytes) -> None:
        """Write to stdin. Raises `ConnectionLost` when the command does not read any more."""
        self.protocol.send(data)
        await self.protocol.writable.wait()
        if self.protocol.exited.is_set() or 0 in self.protocol.ended:
            raise ConnectionLost("Writing to a command on this machine failed: it does not read any more.")

    async def write_eof(self) -> None:
        """Close stdin."""
        self.protocol.send_eof()

    async def wait(self) -> int:
        """Wait for the command's end."""
        await self.protocol.exited.wait()
        # What it said last may still be in the pipe; a child of its own that keeps the pipe open is not
        # waited for.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.protocol.stderr_ended.wait(), LAST_WORDS_SECONDS)
        return self.protocol.status

    @property
    def stderr_tail(self) -> bytes:
        """Return the last 64 KiB of stderr so far."""
        return bytes(self._stderr)

    async def aclose(self) -> None:
        """End the command and everything in its process group. Idempotent."""
        await self.protocol.end()


class ChildProtocol(asyncio.SubprocessProtocol):
    """The callbacks of one child process: `take_*` get its output, events tell its progress."""

    def __init__(
        self,
        take_stdout: Callable[[bytes], object],
        take_stderr: Callable[[bytes], object],
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._take = {1: take_stdout, 2: take_stderr}
        self._on_end = on_end
        self._process: asyncio.SubprocessTransport | None = None
        self._paused: set[int] = set()
        self.ended: set[int] = set()  # descriptors at end of file
        self.exited = asyncio.Event()
        self.stderr_ended = asyncio.Event()
        self.finished = asyncio.Event()  # exited, and all its output was taken
        self.writable = asyncio.Event()
        self.writable.set()

    @property
    def status(self) -> int:
        """Return the exit status; as long as it is unknown, that of a killed command."""
        status = self._process.get_returncode() if self._process else None
        return -signal.SIGKILL if status is None else status

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the handle of the started process."""
        self._process = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Pass output on."""
        self._take[fd](data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note the end of a pipe."""
        self.ended.add(fd)
        if fd == 0:
            self.writable.set()
        if fd == 2:
            self.stderr_ended.set()
        self._on_end()
        self._check_finished()

    def process_exited(self) -> None:
        """Note that the child was reaped."""
        self.exited.set()
        self.writable.set()
        self._check_finished()

    def pause_writing(self) -> None:
        """Make writers wait: stdin is full."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self.writable.set()

    def _check_finished(self) -> None:
        if self.exited.is_set() and {1, 2} <= self.ended:
            self.finished.set()

    def _pipe(self, fd: int) -> Any:
        # Not checked by class: uvloop's transports are no subclasses of asyncio's.
        return self._process.get_pipe_transport(fd) if self._process and fd not in self.ended else None

    def send(self, data: bytes) -> None:
        """Queue bytes for stdin; does nothing once the command has closed it."""
        pipe = self._pipe(0)
        if data and pipe is not None and not pipe.is_closing():
            pipe.write(data)

    def send_eof(self) -> None:
        """Close stdin after what is queued."""
        pipe = self._pipe(0)
        if pipe is not None and not pipe.is_closing():
            pipe.write_eof()  # not `close`: uvloop's would throw away what is queued

    def pause(self, fd: int) -> None:
        """Stop reading an output pipe."""
        pipe = self._pipe(fd)
        if fd not in self._paused and pipe is not None:
            self._paused.add(fd)
            pipe.pause_reading()

    def resume(self, fd: int) -> None:
        """Read an output pipe again."""
        pipe = self._pipe(fd)
        if fd in self._paused and pipe is not None:
            self._paused.discard(fd)
            pipe.resume_reading()

    async def end(self) -> None:
        """End what still runs of the process group, and free everything."""
        if self._process is None:
            return
        if self._process.get_returncode() is not None:
            self.exited.set()  # a start that was cancelled half-way makes no callback
        try:
            if not self.finished.is_set():
                await end_session(self._process.get_pid(), self.exited)
        finally:
            self._process.close()


async def end_session(pid: int, exited: asyncio.Event, first: signal.Signals = signal.SIGTERM) -> None:
    """End the session led by our child `pid`: `first` to all of it, then SIGKILL to the leader's group.

    Returns when the group is gone. `exited` is set by the owner when the child itself was reaped.
    Cancelling this kills at once. What called setsid itself (a tmux server) is left alone.
    """
    try:
        for member in _members(pid, _SESSION) or ():
            _signal(os.kill, member, first)
        _signal(os.killpg, pid, first)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await exited.wait()
                await _group_gone(pid)
    finally:
        _signal(os.killpg, pid, signal.SIGKILL)
    await exited.wait()
    with contextlib.suppress(TimeoutError):  # a process in uninterruptible sleep goes when it wakes
        async with asyncio.timeout(GRACE):
            await _group_gone(pid)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        return False
    return True


async def _group_gone(pid: int) -> None:
    # Members other than our child are not our children: there is nothing to wait for but their absence.
    pause = 0.002
    while _signal(os.killpg, pid, 0) and _members(pid, _GROUP) != []:
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)


def _members(pid: int, field: int) -> list[int] | None:
    """Return the living members of a process group or session; None where there is no /proc to ask.

    A zombie does not count: it can be signalled, and some containers' first process never reaps what it
    inherits.
    """
    try:
        names = os.listdir("/proc")
    except FileNotFoundError:
        return None
    found: list[int] = []
    for name in names:
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                if int(fields[field]) == pid and fields[0] not in (b"Z", b"X"):
                    found.append(int(name))
    return found


async def start(protocol: ChildProtocol, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
    """Start `argv` in a session of its own. A program that cannot be run exits 127 or 126, as in a shell."""
    loop = asyncio.get_running_loop()
    full = {**inherited_environment(), **(env or {})}
    options: dict[str, Any] = {"env": full, "cwd": home(), "start_new_session": True}
    try:
        await loop.subprocess_exec(lambda: protocol, *argv, **options)
    except FileNotFoundError:
        await _start_shell(protocol, argv[0], "not found", 127, options)
    except (PermissionError, NotADirectoryError):
        await _start_shell(protocol, argv[0], "cannot be run", 126, options)
    except OSError as error:  # too long, not an executable
        await _start_shell(protocol, argv[0], error.strerror or "cannot be run", 126, options)


async def _start_shell(
    protocol: ChildProtocol, program: str, why: str, status: int, options: dict[str, Any]
) -> None:
    argv = ["/bin/sh", "-c", _MISSING, program, why, str(status)]
    options = {**options, "env": {}}
    await asyncio.get_running_loop().subprocess_exec(lambda: protocol, *argv, **options)
