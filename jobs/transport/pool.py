"""Shared lines to machines: one set of ssh connections per event loop and endpoint.

`borrow` is the way in. What was started on a borrowed transport may outlive the borrowing (a terminal
does): a connection is closed when nothing runs on it for a while. Connecting is tried again, with growing
pauses, when a caller needs the machine; a command is never repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from jobs.errors import ConnectFailed, TransportError
from jobs.transport.base import Size, Transport
from jobs.transport.endpoint import Endpoint, LocalEndpoint, SshEndpoint
from jobs.transport.local import LocalTransport
from jobs.transport.ssh_session import RemoteSession
from jobs.transport.ssh_transport import SshTransport

if TYPE_CHECKING:
    from jobs.transport.ssh import SshLine, Timing

FLAPPING = 5.0  # seconds: a connection that lived no longer counts as a failed attempt
SHORT_PAUSE = 1.0  # seconds that are rather waited than answered with the last error
SLEPT = 5.0  # seconds by which the wall clock ran ahead of ours: this machine was asleep


class Pool:
    """The lines of one process. Every event loop has its own: a connection belongs to its loop."""

    def __init__(self, timing: Timing | None = None) -> None:
        self._timing = timing
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Endpoint, SshLines]] = (
            WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def transport(self, endpoint: Endpoint) -> Transport:
        """Return a transport to the endpoint, for the running event loop. Connects at first use."""
        if isinstance(endpoint, LocalEndpoint):
            return LocalTransport(endpoint)
        return SshTransport(endpoint, self.lines(endpoint))

    def lines(self, endpoint: SshEndpoint) -> SshLines:
        """Return the connections of the running event loop to an endpoint."""
        with self._lock:
            mine = self._lines.setdefault(asyncio.get_running_loop(), {})
            if endpoint not in mine:
                mine[endpoint] = SshLines(endpoint, self._timing)
            return mine[endpoint]

    async def aclose(self) -> None:
        """Close every connection of the running event loop."""
        with self._lock:
            mine = self._lines.pop(asyncio.get_running_loop(), {})
        await asyncio.gather(*(lines.aclose() for lines in mine.values()))


class SshLines:
    """The connections of one event loop to one endpoint."""

    def __init__(self, endpoint: SshEndpoint, timing: Timing | None = None) -> None:
        # Here and not above: asyncssh takes its time to import, and a local worker never needs it.
        from jobs.transport import ssh

        self._ssh = ssh
        self.endpoint = endpoint
        self.timing = timing or ssh.Timing()
        self.lines: list[SshLine] = []
        self.attempts = 0  # logins tried, for the curious and for tests
        self._of_session: dict[RemoteSession, SshLine] = {}
        self._connecting: asyncio.Task[None] | None = None
        self._closers: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._not_before = 0.0
        self._last_error: TransportError | None = None
        self._clock_gap = time.time() - time.monotonic()

    async def open(
        self, session: RemoteSession, command: str, *, term: str = "", size: Size | None = None
    ) -> None:
        """Start a command on a connection with a free channel, connecting when there is none."""
        while True:
            line = await self._line_with_room()
            line.used += 1
            session.on_closed = lambda session=session: self._release(session)  # type: ignore[misc]
            self._of_session[session] = line
            try:
                async with asyncio.timeout(self.timing.connect):
                    await line.open(session, command, term=term, size=size)
                line.served = True
                return
            except self._ssh.ChannelRefused as error:
                # A server may still count a channel that has just ended: then another connection is needed.
                line.suspect = line.used == 1 and line.served
                self._release(session)
                if line.used == 0 and not line.suspect:
                    raise ConnectFailed(
                        f"Starting a command on {self.endpoint} failed: it opens no session ({error}).",
                        hint="Check MaxSessions in the server's sshd_config.",
                    ) from error
                line.limit = max(line.used, 1)
            except TimeoutError as error:
                line.suspect = True
                session.abort()
                self._release(session)
                raise self.lost(error) from error
            except BaseException:
                if not session.opened:  # else the command may run: the caller ends it
                    self._release(session)
                raise

    async def ready(self) -> None:
        """Have a connection, connecting when there is none. Raises why there is none."""
        self._drop_lost()
        if not any(not line.suspect and not line.is_lost for line in self.lines):
            await self._line_with_room()

    def _release(self, session: RemoteSession) -> None:
        line = self._of_session.pop(session, None)
        if line is None:
            return
        line.used -= 1
        if line.used == 0:
            if line.suspect or line.is_lost:
                self._close(line)
            else:
                line.since_idle = time.monotonic()
                asyncio.get_running_loop().call_later(
                    self.timing.idle, self._close_if_idle, line, line.since_idle
                )

    def _close_if_idle(self, line: SshLine, since: float) -> None:
        if line in self.lines and line.used == 0 and line.since_idle <= since:
            self._close(line)

    def _close(self, line: SshLine) -> None:
        if line in self.lines:
            self.lines.remove(line)
        task = asyncio.ensure_future(line.close())
        self._closers.add(task)
        task.add_done_callback(self._closers.discard)

    async def _line_with_room(self) -> SshLine:
        self._drop_lost()
        while True:
            for line in self.lines:
                if line.used < line.limit and not line.suspect and not line.is_lost:
                    if time.monotonic() - line.since > FLAPPING:
                        self._failures = 0
                    return line
            if self._connecting is None:
                self._refuse_while_backing_off()
                self._connecting = asyncio.ensure_future(self._connect())
                self._connecting.add_done_callback(self._connected)
            # One login at a time, shared by all who wait, and not undone because one of them gives up.
            await asyncio.shield(self._connecting)

    def _drop_lost(self) -> None:
        gap = time.time() - time.monotonic()
        if gap - self._clock_gap > SLEPT:  # after a sleep no connection can be trusted to be alive
            for line in self.lines:
                line.suspect = True
        self._clock_gap = gap
        for line in list(self.lines):
            if line.is_lost:
                if time.monotonic() - line.since < FLAPPING:
                    self._note_failure(self.lost(None))
                self._close(line)
            elif line.suspect and line.used == 0:
                self._close(line)

    async def _connect(self) -> None:
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
        self.attempts += 1
        try:
            line = await self._ssh.connect(self.endpoint, self.timing)
        except TransportError as error:
            self._note_failure(error)
            raise
        self.lines.append(line)

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # callers that still wait get it; marks it as retrieved

    def _note_failure(self, error: TransportError) -> None:
        limit = self.timing.back_off_limit if error.retryable else self.timing.refused_limit
        pause = min(self.timing.back_off * 2**self._failures, limit)
        self._failures += 1
        self._not_before = time.monotonic() + pause
        self._last_error = error

    def _refuse_while_backing_off(self) -> None:
        left = self._not_before - time.monotonic()
        if left > SHORT_PAUSE and self._last_error is not None:
            error = self._last_error
            raise type(error)(error.message, hint=f"{error.hint} Next attempt in {left:.1f} s.".strip())

    def distrust(self, session: RemoteSession) -> None:
        """Start nothing more on the connection of this session."""
        line = self._of_session.get(session)
        if line is not None:
            line.suspect = True

    def lost(self, error: Exception | None) -> TransportError:
        """Return the error of a connection that broke."""
        return self._ssh.broken(error or ConnectionResetError("closed"), self.endpoint)

    async def aclose(self) -> None:
        """Close all connections; what runs on them ends as on a broken line."""
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._connecting
        for line in list(self.lines):
            self._close(line)
        while self._closers:
            await asyncio.gather(*self._closers, return_exceptions=True)


_pool = Pool()


@asynccontextmanager
async def borrow(endpoint: Endpoint) -> AsyncIterator[Transport]:
    """Lend a transport to the endpoint. Connections are shared and stay open for the next."""
    transport = _pool.transport(endpoint)
    try:
        yield transport
    finally:
        await transport.aclose()


async def reach(endpoint: Endpoint) -> None:
    """Have a connection to the endpoint, for the next caller that borrows it. Raises why there is none."""
    if isinstance(endpoint, SshEndpoint):
        await _pool.lines(endpoint).ready()


async def aclose_all() -> None:
    """Close every connection of the running event loop. To be awaited before the loop ends."""
    await _pool.aclose()
