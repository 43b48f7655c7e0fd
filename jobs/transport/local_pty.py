"""A command on a pseudo-terminal of this machine."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import struct
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from jobs.errors import ConnectionLost
from jobs.transport.base import Pty, PtyReceiver, Size
from jobs.transport.local_process import end_session

CHUNK = 64 * 1024
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024

# Runs between fork and exec in a process of its own, because code of ours after a fork of a threaded
# process can deadlock. It makes the terminal (already its stdin) the controlling one of the new session,
# and undoes ignored signals: a server started with `nohup` or `&` must not make Ctrl-C useless.
_TRAMPOLINE = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGPIPE", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGXFSZ"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    missing = isinstance(error, FileNotFoundError)
    text = "not found" if missing else error.strerror
    os.write(2, f"{sys.argv[1]}: {text}\\n".encode())
    os._exit(127 if missing else 126)
"""


class LocalPty(Pty):
    """The master side of a pseudo-terminal and the session on its other side."""

    def __init__(self, master: int, receiver: PtyReceiver) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = master
        self._receiver = receiver
        self._child = _Child(self._check_finished)
        self._reading = False
        self._paused = False
        self._ended = False  # the master is at its end, or closed
        self._queue = bytearray()
        self._short = asyncio.Event()
        self._short.set()
        self._told = False
        self._done = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, argv: Sequence[str], receiver: PtyReceiver, *, size: Size, env: Mapping[str, str], cwd: str
    ) -> LocalPty:
        """Start `argv` as the leader of a new session with a new terminal of `size`."""
        master, slave = os.openpty()
        pty = cls(master, receiver)
        try:
            os.set_blocking(master, False)
            pty.resize(size)
            await asyncio.get_running_loop().subprocess_exec(
                lambda: pty._child,
                sys.executable, "-I", "-S", "-c", _TRAMPOLINE, *argv,
                stdin=slave, stdout=slave, stderr=slave,
                env=dict(env), cwd=cwd, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            pty._told = True  # the caller gets the exception instead
            await pty.aclose()
            raise
        finally:
            os.close(slave)
        pty.resume_reading()
        return pty

    def write(self, data: bytes) -> None:
        """Queue bytes for the command; nothing happens after the end."""
        if self._ended or not data:
            return
        waiting = bool(self._queue)
        self._queue += data
        if not waiting:
            self._flush()
            if self._queue and not self._ended:
                self._loop.add_writer(self._fd, self._flush)
        if len(self._queue) > HIGH_WATER:
            self._short.clear()

    def _flush(self) -> None:
        try:
            while self._queue:
                sent = os.write(self._fd, memoryview(self._queue)[:CHUNK].tobytes())
                del self._queue[:sent]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._queue.clear()  # the command has ended; the reading side reports it
        if not self._queue:
            self._loop.remove_writer(self._fd)
        if len(self._queue) <= LOW_WATER:
            self._short.set()

    async def drain(self) -> None:
        """Return when the queue towards the command is short again."""
        await self._short.wait()
        if self._ended:
            raise ConnectionLost("Writing to the terminal failed: its command has ended.")

    def resize(self, size: Size) -> None:
        """Set the size; the kernel sends SIGWINCH to the foreground process group."""
        if not self._ended:
            packed = struct.pack("HHHH", size.rows, size.columns, 0, 0)
            fcntl.ioctl(self._fd, termios.TIOCSWINSZ, packed)

    def pause_reading(self) -> None:
        """Stop reading the master; the kernel then blocks the command."""
        self._paused = True
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read the master again."""
        self._paused = False
        if not self._reading and not self._ended:
            self._reading = True
            self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        # The kernel hands out at most 4 KiB at a time: take what is there, up to one chunk.
        parts: list[bytes] = []
        length = 0
        ended = False
        try:
            while length < CHUNK - 4096:
                part = os.read(self._fd, CHUNK - length)
                if not part:
                    ended = True
                    break
                parts.append(part)
                length += len(part)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: no process has the other side open
                self._child.error = error
            ended = True
        try:
            if parts and not self._told:
                self._receiver.data_received(b"".join(parts))
        finally:
            if ended:
                self._close_master()
                self._check_finished()

    def _close_master(self) -> None:
        if self._ended:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._reading = False
        self._ended = True
        self._queue.clear()
        self._short.set()
        os.close(self._fd)

    def _check_finished(self) -> None:
        if not (self._ended and self._child.exited.is_set()):
            return
        self._child.close()
        self._done.set()
        if not self._told:
            self._told = True
            self._receiver.closed(self._child.status, self._child.error)

    async def wait_closed(self) -> int | None:
        """Wait until the command has ended and all that it wrote was delivered."""
        await self._done.wait()
        return self._child.status

    async def aclose(self) -> None:
        """Hang up and wait until the command is gone."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._hang_up())
        await asyncio.shield(self._closing)

    async def _hang_up(self) -> None:
        # Closing the master makes the kernel send SIGHUP to the foreground process group.
        self._close_master()
        if self._child.pid is None:
            return
        if not self._child.exited.is_set():
            await end_session(self._child.pid, self._child.exited, signal.SIGHUP)
        self._check_finished()


class _Child(asyncio.SubprocessProtocol):
    """The session leader; its input and output do not pass through asyncio."""

    def __init__(self, on_exit: Callable[[], object]) -> None:
        self._on_exit = on_exit
        self._process: asyncio.SubprocessTransport | None = None
        self.exited = asyncio.Event()
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast(asyncio.SubprocessTransport, transport)

    def process_exited(self) -> None:
        self.exited.set()
        self._on_exit()

    @property
    def pid(self) -> int | None:
        return self._process.get_pid() if self._process else None

    @property
    def status(self) -> int | None:
        return self._process.get_returncode() if self._process else None

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
