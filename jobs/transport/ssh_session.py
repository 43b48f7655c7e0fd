"""What happens on one channel of an ssh connection: the callbacks of a running command.

Every command is started by a small shell line that first tells its process id and then becomes the
command: closing a channel without a terminal ends nothing on the far side, so that id is what a kill
needs. sshd makes the command the leader of its own process group.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobs.transport.command import check_argv, login_shell_line

STDERR = 1  # ssh's number for the stderr stream of a channel
_ANNOUNCE = 'printf "\\001offload %d\\002" "$$"; exec "$@"'
_ANNOUNCED = re.compile(rb"\x01offload (\d+)\x02")
_BEGINNING = re.compile(rb"\x01(?:o(?:f(?:f(?:l(?:o(?:a(?:d(?: \d*)?)?)?)?)?)?)?)?\Z")
_PREAMBLE_LIMIT = 64 * 1024
_TERMINAL_PREAMBLE = 1024 * 1024


def remote_command(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return the command line that announces itself and becomes `argv`."""
    check_argv(argv, env)
    return login_shell_line(["/bin/sh", "-c", _ANNOUNCE, "sh", *argv], env)


class RemoteSession:
    """One running command. The connection calls the methods that asyncssh's `SSHClientSession` has.

    `take_stdout` and `take_stderr` get output, `on_change` is called when output is at its end, when the
    command has ended, and when the channel is closed. On a terminal the announcement may never arrive:
    tmux throws away the terminal's unread output when it starts.
    """

    def __init__(
        self,
        take_stdout: Callable[[bytes], object],
        take_stderr: Callable[[bytes], object],
        on_change: Callable[[], object] = lambda: None,
        *,
        terminal: bool = False,
    ) -> None:
        self._terminal = terminal
        self._take_stdout = take_stdout
        self._take_stderr = take_stderr
        self._on_change = on_change
        self.on_closed: Callable[[], object] = lambda: None  # the pool's, to count channels
        self._channel: Any = None
        self._preamble: bytearray | None = bytearray()
        self._unannounced = 0
        self._waiting: deque[bytes] = deque()
        self._paused = False
        self._resuming = False
        self._discarding = False
        self.pid: int | None = None
        self.exit_status: int | None = None
        self.error: Exception | None = None
        self.started = asyncio.Event()  # the process id is known, or never will be
        self.ended = asyncio.Event()  # the command has ended, or the channel is closed
        self.at_eof = False
        self.closed = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    # What the connection calls.

    def connection_made(self, chan: Any) -> None:
        """Keep the channel."""
        self._channel = chan

    def session_started(self) -> None:
        """Do nothing: the announcement tells more."""

    def xon_xoff_requested(self, client_can_do: bool) -> None:
        """Do nothing: that is for terminals with hardware."""

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take output, without the announcement at its beginning and what came before it."""
        if datatype == STDERR:
            self._take_stderr(data)
            return
        if self._preamble is not None:
            data = self._without_announcement(data)
        if data:
            self._deliver(data)

    def _without_announcement(self, data: bytes) -> bytes:
        """Take data as long as the announcement may come; return what is to be handed on now."""
        held = bytes(self._preamble or b"") + data
        found = _ANNOUNCED.search(held)
        if found:
            self.pid = int(found[1])
            before = held[: found.start()] if self._terminal else b""
            return self._preamble_ends(before + held[found.end() :])
        if not self._terminal:  # what a login shell prints at its start would spoil the command's output
            self._preamble = bytearray(held[-_PREAMBLE_LIMIT:])
            return b""
        self.started.set()
        self._unannounced += len(data)
        if self._unannounced > _TERMINAL_PREAMBLE:
            return self._preamble_ends(held)
        part = _BEGINNING.search(held)
        end = part.start() if part else len(held)
        self._preamble = bytearray(held[end:])
        return held[:end]

    def _preamble_ends(self, data: bytes) -> bytes:
        self._preamble = None
        self.started.set()
        return data

    def _deliver(self, data: bytes) -> None:
        if self._discarding:
            return
        if self._paused or self._waiting:
            self._waiting.append(data)
        else:
            self._take_stdout(data)

    def eof_received(self) -> bool:
        """Note the end of output; True: stdin stays open."""
        self._flush_preamble()
        self.at_eof = True
        self._on_change()
        return True

    def _flush_preamble(self) -> None:
        # No announcement: the login shell said no, and why is in here.
        data, self._preamble = self._preamble, None
        self.started.set()
        if data:
            self._deliver(bytes(data))

    def exit_status_received(self, status: int) -> None:
        """Note the exit status."""
        self.exit_status = status
        self.ended.set()
        self._on_change()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """Note the signal that ended the command."""
        code = self._channel.get_returncode() if self._channel is not None else None
        self.exit_status = code if code is not None else -1
        self.ended.set()
        self._on_change()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the channel."""
        self.error = exc
        if self._preamble:
            self._flush_preamble()
        self.at_eof = True
        for event in (self.started, self.ended, self.closed, self.writable):
            event.set()
        self.on_closed()
        self._on_change()

    def pause_writing(self) -> None:
        """Make writers wait."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self.writable.set()

    # What the owner calls.

    @property
    def opened(self) -> bool:
        """Tell whether there ever was a channel."""
        return self._channel is not None

    @property
    def drained(self) -> bool:
        """Tell whether all output that arrived was handed on."""
        return not self._waiting

    def pause(self) -> None:
        """Hand on no more output. What is in flight is kept: at most two windows."""
        self._paused = True
        if self._channel is not None and not self._resuming:
            self._channel.pause_reading()

    def resume(self) -> None:
        """Hand on output again.

        asyncssh opens the window again with each piece that a paused reader takes, although earlier ones
        still wait; so the channel goes on only when nothing waits here.
        """
        self._paused = False
        if self._resuming:  # called back from within: the loop below sees it
            return
        self._resuming = True
        try:
            self._hand_on()
        finally:
            self._resuming = False

    def _hand_on(self) -> None:
        while not self._is_paused():
            while self._waiting and not self._is_paused():
                self._take_stdout(self._waiting.popleft())
            if self._channel is None or self._is_paused():
                return
            self._channel.resume_reading()  # calls data_received with what it kept
            if self._is_paused():
                self._channel.pause_reading()
            elif not self._waiting:
                return

    def _is_paused(self) -> bool:
        return self._paused  # read each time: the receiver may pause from within its call

    def discard(self) -> None:
        """Throw away all further output, so that nothing holds up the end."""
        self._discarding = True
        self._waiting.clear()
        self._paused = False
        if self._channel is not None:
            self._channel.resume_reading()

    def write(self, data: bytes) -> None:
        """Queue bytes for stdin; does nothing when the command reads no more."""
        if data and not self.closed.is_set():
            with contextlib.suppress(OSError):
                self._channel.write(data)

    def write_eof(self) -> None:
        """Close stdin after what is queued."""
        if not self.closed.is_set():
            with contextlib.suppress(OSError):
                self._channel.write_eof()

    def resize(self, columns: int, rows: int) -> None:
        """Change the terminal's size."""
        if not self.closed.is_set():
            with contextlib.suppress(OSError):
                self._channel.change_terminal_size(columns, rows)

    def abort(self) -> None:
        """Close the channel at once."""
        if self._channel is not None and not self.closed.is_set():
            self._channel.abort()
