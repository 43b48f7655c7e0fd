"""Connect the user's terminal to a session: raw bytes both ways.

Ctrl-C and every other key pass through as bytes. A slow terminal slows the session down instead of filling
memory. The terminal's settings are restored on every way out: detach, error, a signal, a lost line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobs.cli.terminal.writer import TtyOutput
from jobs.errors import ConnectionLost
from jobs.workers import Pty, Size, TerminalRequest, open_terminal

# Switches off what a session may have switched on: mouse, focus events, bracketed paste, alternate screen.
_RESET = b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?1049l\x1b[?25h\x1b[0m\r\n"
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
_CHUNK = 65536


@dataclass(frozen=True)
class Attached:
    """How an attachment ended: exit status of the client, error of the connection, or a signal to us."""

    exit_status: int | None = None
    error: Exception | None = None
    ended_by: signal.Signals | None = None


class _Raw:
    """A terminal in raw mode, and the settings to restore."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._saved = termios.tcgetattr(fd)

    def enter(self) -> None:
        tty.setraw(self.fd)

    def leave(self) -> None:
        # TCSANOW: waiting for the output to drain would hang on a stopped terminal. A terminal that is
        # gone (SIGHUP) has nothing to restore.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSANOW, self._saved)


class _User:
    """The receiving side: writes the output of the session to the user's terminal."""

    def __init__(self) -> None:
        self.done: asyncio.Future[Attached] = asyncio.get_running_loop().create_future()
        self.pty: Pty | None = None
        self._paused = False
        self.output = TtyOutput(
            sys.stdout.fileno(), pause=self._pause, resume=self._resume, gone=lambda: self.finish(Attached())
        )

    def joined(self, pty: Pty) -> None:
        self.pty = pty
        if self._paused:
            pty.pause_reading()

    def _pause(self) -> None:
        self._paused = True
        if self.pty is not None:
            self.pty.pause_reading()

    def _resume(self) -> None:
        self._paused = False
        if self.pty is not None:
            self.pty.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.output.write(data)

    def closed(self, exit_status: int | None, error: Exception | None) -> None:
        self.finish(Attached(exit_status, error))

    def finish(self, how: Attached) -> None:
        if not self.done.done():
            self.done.set_result(how)


def _size() -> Size:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return Size(max(columns, 2), max(rows, 2))


async def attach(request: TerminalRequest) -> Attached:
    """Attach the user's terminal to a session until either side ends.

    Raises what `open_terminal` raises. A line that breaks later is in the answer's `error`.
    """
    user = _User()
    try:
        pty = await open_terminal(request, user, _size())
        try:
            user.joined(pty)
            with _joined(user, pty):
                how = await user.done
        finally:
            await asyncio.shield(pty.aclose())
    finally:
        await asyncio.shield(user.output.aclose())
    if how.exit_status is None:
        # The client was not able to reset the terminal itself.
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), _RESET)
    return how


@contextmanager
def _joined(user: _User, pty: Pty) -> Iterator[None]:
    """Send keys, sizes and signals of this terminal to the session while the block runs."""
    loop = asyncio.get_running_loop()
    stdin = sys.stdin.fileno()
    raw = _Raw(stdin)

    def typed() -> None:
        try:
            data = os.read(stdin, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            pty.write(data)
        else:
            user.finish(Attached())

    def resized() -> None:
        with contextlib.suppress(OSError):
            pty.resize(_size())

    def suspended() -> None:
        raw.leave()
        os.kill(os.getpid(), signal.SIGSTOP)

    def continued() -> None:
        raw.enter()
        # Another program has drawn here; a changed size makes the session redraw everything.
        size = _size()
        pty.resize(Size(size.columns, max(size.rows - 1, 2)))
        pty.resize(size)

    handlers: dict[signal.Signals, tuple[Any, ...]] = {
        signal.SIGWINCH: (resized,),
        signal.SIGTSTP: (suspended,),
        signal.SIGCONT: (continued,),
        **{number: (user.finish, Attached(ended_by=number)) for number in _ENDINGS},
    }
    try:
        raw.enter()
        loop.add_reader(stdin, typed)
        for number, call in handlers.items():
            loop.add_signal_handler(number, *call)
        # The size may have changed between the opening and the handler.
        resized()
        yield
    finally:
        raw.leave()
        loop.remove_reader(stdin)
        for number in handlers:
            loop.remove_signal_handler(number)


async def attach_persistently(request: TerminalRequest) -> Attached:
    """Attach; when the connection breaks, attach once more. Raises the error of the second connection."""
    how = await attach(request)
    if isinstance(how.error, ConnectionLost):
        print(f"The line to the worker broke ({how.error.message}) Attaching again.", file=sys.stderr)
        how = await attach(request)
    if how.error is not None:
        raise how.error
    return how
