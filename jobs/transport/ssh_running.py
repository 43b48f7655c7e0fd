"""Commands that run behind ssh: with pipes, and on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Protocol

from jobs.errors import ConnectionLost, TransportError
from jobs.transport.base import STDERR_TAIL, Process, Pty, PtyReceiver, Size
from jobs.transport.endpoint import SshEndpoint
from jobs.transport.ssh_session import RemoteSession, remote_command

HIGH_WATER = 256 * 1024
HANG_UP_PATIENCE = 1.0
START_PATIENCE = 3.0
KILL_PATIENCE = 6.0  # seconds for a kill, which itself waits one between SIGTERM and SIGKILL

# $1: process group, $2: first signal. Ends when no member is alive; a zombie does not count.
_KILL = r"""
alive() {
  kill -s 0 -- "-$1" 2>/dev/null || return 1
  command -v ps >/dev/null || return 0
  ps -e -o pgid= -o stat= | {
    while read -r group state; do
      if [ "$group" = "$1" ]; then case $state in Z*) ;; *) exit 0 ;; esac; fi
    done
    exit 1
  }
}
kill -s "$2" -- "-$1" 2>/dev/null
for pause in .01 .02 .05 .1 .2 .3 .3; do alive "$1" || break; sleep "$pause"; done
kill -s KILL -- "-$1" 2>/dev/null
for pause in .01 .02 .05 .1 .2 .3 .3; do alive "$1" || exit 0; sleep "$pause"; done
exit 1
"""


class Lines(Protocol):
    """What opens channels: the pool."""

    async def open(
        self, session: RemoteSession, command: str, *, term: str = "", size: Size | None = None
    ) -> None:
        """Start a command on some connection. Raises an error of the line."""

    def distrust(self, session: RemoteSession) -> None:
        """Start nothing more on the connection of this session: it gave no answer."""

    def lost(self, error: Exception | None) -> TransportError:
        """Return the error of a connection that broke."""


async def end_command(
    lines: Lines, session: RemoteSession, first: str = "TERM", *, even_if_closed: bool = False
) -> bool:
    """End a command and its process group; tell whether that is certain. Shielded from cancelling.

    A closed channel counts as the end, unless `even_if_closed` is set and the exit status is unknown.
    """
    return await asyncio.shield(asyncio.ensure_future(_end(lines, session, first, even_if_closed)))


async def _end(lines: Lines, session: RemoteSession, first: str, even_if_closed: bool) -> bool:
    session.discard()
    if not session.opened:
        return True
    if session.closed.is_set() and (session.exit_status is not None or not even_if_closed):
        return session.exit_status is not None
    gone = False
    try:
        async with asyncio.timeout(KILL_PATIENCE):
            await session.started.wait()
            if session.exit_status is not None and session.at_eof:
                gone = True
            elif session.pid is not None:
                gone = await _kill(lines, session.pid, first)
    except (TimeoutError, TransportError):
        lines.distrust(session)
    session.abort()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANG_UP_PATIENCE):
            await session.closed.wait()
    return gone


async def _kill(lines: Lines, pid: int, first: str) -> bool:
    killer = RemoteSession(lambda _: None, lambda _: None)
    await lines.open(killer, remote_command(["sh", "-c", _KILL, "sh", str(pid), first]))
    try:
        killer.write_eof()
        await killer.closed.wait()
    finally:
        killer.abort()
    return killer.exit_status == 0


class SshProcess(Process):
    """A running command with pipes behind ssh."""

    def __init__(self, lines: Lines, endpoint: SshEndpoint) -> None:
        self._lines = lines
        self._endpoint = endpoint
        self._chunks: deque[bytes] = deque()
        self._queued = 0
        self._stderr = bytearray()
        self._news = asyncio.Event()
        self.session = RemoteSession(self._take_stdout, self._take_stderr, self._news.set)

    def _take_stdout(self, data: bytes) -> None:
        self._chunks.append(data)
        self._queued += len(data)
        if self._queued > HIGH_WATER:
            self.session.pause()
        self._news.set()

    def _take_stderr(self, data: bytes) -> None:
        self._stderr += data
        del self._stderr[:-STDERR_TAIL]

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield stdout as it arrives. Raises `ConnectionLost` when the line breaks before the end."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._queued -= len(chunk)
                if self._queued <= HIGH_WATER // 2:
                    self.session.resume()
                yield chunk
            if self.session.at_eof and self.session.drained:
                break
            self._news.clear()
            await self._news.wait()
        self._require_line()

    def _require_line(self) -> None:
        if self.session.closed.is_set() and self.session.exit_status is None and self.session.error:
            raise self._lines.lost(self.session.error)

    async def write(self, data: bytes) -> None:
        """Write to stdin. Raises `ConnectionLost` when the command reads no more."""
        self.session.write(data)
        await self.session.writable.wait()
        self._require_line()
        if self.session.ended.is_set():
            raise ConnectionLost(
                f"Writing to a command on {self._endpoint} failed: it does not read any more."
            )

    async def write_eof(self) -> None:
        """Close stdin."""
        self.session.write_eof()

    async def wait(self) -> int:
        """Wait for the command's end. Raises `ConnectionLost` when it cannot be known."""
        await self.session.ended.wait()
        if self.session.exit_status is None:
            raise self._lines.lost(self.session.error)
        return self.session.exit_status

    @property
    def stderr_tail(self) -> bytes:
        """Return the last 64 KiB of stderr so far."""
        return bytes(self._stderr)

    async def aclose(self) -> None:
        """End the command and its process group. Idempotent."""
        await end_command(self._lines, self.session)


class SshPty(Pty):
    """A command on a terminal behind ssh."""

    def __init__(self, lines: Lines, endpoint: SshEndpoint, receiver: PtyReceiver) -> None:
        self._lines = lines
        self._endpoint = endpoint
        self._receiver = receiver
        self._told = False
        self._done = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self.session = RemoteSession(
            receiver.data_received, receiver.data_received, self._check_finished, terminal=True
        )

    def forget(self) -> None:
        """Tell the receiver nothing any more: it was never told of a beginning."""
        self._told = True

    def _check_finished(self) -> None:
        if not (self.session.closed.is_set() and self.session.drained):
            return
        self._done.set()
        if not self._told:
            self._told = True
            broken = self.session.error is not None and self.session.exit_status is None
            error = self._lines.lost(self.session.error) if broken else None
            self._receiver.closed(self.session.exit_status, error)

    def write(self, data: bytes) -> None:
        """Queue bytes for the command; nothing happens after the end."""
        self.session.write(data)

    async def drain(self) -> None:
        """Return when the queue towards the command is short again."""
        await self.session.writable.wait()
        if self.session.closed.is_set():
            raise ConnectionLost(f"Writing to the terminal on {self._endpoint} failed: it is closed.")

    def resize(self, size: Size) -> None:
        """Set the size; the command gets SIGWINCH."""
        self.session.resize(size.columns, size.rows)

    def pause_reading(self) -> None:
        """Deliver nothing more; the full window then blocks the far side."""
        self.session.pause()

    def resume_reading(self) -> None:
        """Deliver again."""
        self.session.resume()
        self._check_finished()

    async def wait_closed(self) -> int | None:
        """Wait until the command has ended and all that it wrote was delivered."""
        await self._done.wait()
        return self.session.exit_status

    async def aclose(self) -> None:
        """Hang up and wait until the command is gone."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._hang_up())
        await asyncio.shield(self._closing)

    async def _hang_up(self) -> None:
        session = self.session
        session.discard()
        if not session.opened:
            return
        # A terminal that closes while sshd is still making it the command's own would not hang up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_PATIENCE):
                await session.started.wait()
        if not session.closed.is_set():
            # sshd closes the terminal, and the kernel sends SIGHUP. Its answer may come before the end of
            # the command, so that end is seen to.
            session.abort()
            await end_command(self._lines, session, "HUP", even_if_closed=True)
        session.closed.set()
        self._check_finished()
