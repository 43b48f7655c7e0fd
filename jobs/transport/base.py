"""The contract of a transport: argv lists and bytes, to and from one machine.

Every implementation passes `tests/contracts/transport.py`. Errors are those of `jobs.errors`, and say
which side to blame: `ConnectFailed`, `AuthRefused`, `HostKeyMismatch`, `ConnectionLost` are the line;
`CommandFailed` and `TimedOut` are the command. A transport never retries a command.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from jobs.errors import TooLarge
from jobs.transport.endpoint import Endpoint

# A machine decides what it sends, so nothing of it is collected in memory without a limit.
OUTPUT_LIMIT = 64 * 1024 * 1024
STDERR_TAIL = 64 * 1024
# The facts of a repository with very many files are some megabytes.
LONGEST_LINE = 32 * 1024 * 1024


@dataclass(frozen=True)
class Completed:
    """A command that ended: exit status (negative: killed by that signal), stdout, the end of stderr."""

    exit_status: int
    stdout: bytes
    stderr: bytes


class Output:
    """What a running command writes: stdout up to `limit` bytes, and the last 64 KiB of stderr.

    More than that ends the wait for the command at once: see `stop`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.is_full = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._stderr = bytearray()
        self._clock: asyncio.Timeout | None = None

    def stop(self, clock: asyncio.Timeout) -> None:
        """Have `clock` expire now, or as soon as there is too much output."""
        self._clock = clock
        if self.is_full:
            clock.reschedule(0.0)

    def take_stdout(self, data: bytes) -> None:
        """Keep output; beyond the limit nothing is kept."""
        if self.is_full:
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size > self.limit:
            self.is_full = True
            self._chunks.clear()
            if self._clock is not None:
                with contextlib.suppress(RuntimeError):  # the wait is over already
                    self._clock.reschedule(0.0)

    def take_stderr(self, data: bytes) -> None:
        """Keep the end of stderr."""
        self._stderr += data
        del self._stderr[:-STDERR_TAIL]

    def completed(self, exit_status: int) -> Completed:
        """Return it with the command's exit status."""
        return Completed(exit_status, b"".join(self._chunks), bytes(self._stderr))

    def too_large(self, what: str, where: str) -> TooLarge:
        """Return the error for more output than the limit."""
        return TooLarge(
            f"{what} on {where} failed: more than {self.limit} bytes came; the rest was not read."
        )


@dataclass(frozen=True)
class Size:
    """A terminal's size in character cells."""

    columns: int
    rows: int


class PtyReceiver(Protocol):
    """What a terminal's owner implements. Called on the event loop; must not block."""

    def data_received(self, data: bytes) -> None:
        """Take bytes that the far side wrote, in order."""

    def closed(self, exit_status: int | None, error: Exception | None) -> None:
        """Called exactly once, after the last `data_received`.

        `exit_status` is the command's (None when unknown); `error` is set when the line broke.
        """


class Pty(ABC):
    """One command on a pseudo-terminal.

    While reading is paused, no `data_received` call is made beyond what was in flight (at most 128 KiB),
    and the far side blocks: a slow reader costs no memory.
    """

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Queue bytes for the far side, in order. Never blocks; see `drain`."""

    @abstractmethod
    async def drain(self) -> None:
        """Return when the queue towards the far side is short again. Raises `ConnectionLost`."""

    @abstractmethod
    def resize(self, size: Size) -> None:
        """Tell the far side its new size."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Stop delivering data."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Deliver data again."""

    @abstractmethod
    async def wait_closed(self) -> int | None:
        """Wait for the end; return the exit status."""

    @abstractmethod
    async def aclose(self) -> None:
        """Hang up: the command gets SIGHUP, and is gone when this returns. Idempotent."""


class Process(ABC):
    """A running command with pipes. Use as an async context manager: leaving it kills what still runs."""

    @abstractmethod
    def chunks(self) -> AsyncGenerator[bytes]:
        """Yield stdout as it arrives; ends at end of file. A slow reader makes the command wait."""

    async def lines(self, longest: int = LONGEST_LINE) -> AsyncGenerator[bytes]:
        """Yield stdout line by line, without the newline. Raises `TooLarge` for a line above `longest`."""
        pending: list[bytes] = []
        size = 0
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                *whole, rest = chunk.split(b"\n")
                for line in whole:
                    yield b"".join([*pending, line])
                    pending.clear()
                    size = 0
                if rest:
                    pending.append(rest)
                    size += len(rest)
                if size > longest:
                    raise TooLarge(f"A line of more than {longest} bytes came; the rest was not read.")
        if pending:
            yield b"".join(pending)

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Write to stdin, waiting while the pipe is full."""

    @abstractmethod
    async def write_eof(self) -> None:
        """Close stdin."""

    @abstractmethod
    async def wait(self) -> int:
        """Wait for the command's end; return its exit status."""

    @property
    @abstractmethod
    def stderr_tail(self) -> bytes:
        """Return the last 64 KiB that the command wrote to stderr so far."""

    @abstractmethod
    async def aclose(self) -> None:
        """End the command (SIGTERM, then SIGKILL after a second) and free everything. Idempotent."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Transport(ABC):
    """A way to one machine. Safe for concurrent calls within one event loop."""

    endpoint: Endpoint

    @abstractmethod
    async def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        deadline: float = 30.0,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Run a command to its end, within `deadline` seconds.

        Raises `CommandFailed` on a non-zero exit when `check` is set, `TimedOut` when the deadline
        passes, `TooLarge` when it writes more than `limit` bytes to stdout (in both cases the command and
        its process group are killed), or an error of the line.
        `env` is added to the far side's environment; it is visible there, so it never holds a secret.
        """

    @abstractmethod
    async def spawn(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        """Start a command with pipes and return at once."""

    @abstractmethod
    async def open_pty(
        self,
        argv: Sequence[str],
        receiver: PtyReceiver,
        *,
        size: Size,
        term: str = "xterm-256color",
        env: Mapping[str, str] | None = None,
    ) -> Pty:
        """Start a command on a new pseudo-terminal of `size`."""

    @abstractmethod
    async def put(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Write a whole file atomically, making its directory (0700) when it is missing."""

    @abstractmethod
    async def get(self, path: str, *, offset: int = 0, limit: int | None = None) -> bytes:
        """Read a regular file from byte `offset`, at most `limit` bytes. Raises `NotFound`.

        Without `limit` to its end; raises `TooLarge` when that is more than `OUTPUT_LIMIT` bytes.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Free the line. Idempotent."""
