"""The contract of a transport: argv lists and bytes, to and from one machine.

Every implementation passes `tests/contracts/transport.py`. Errors are those of `jobs.errors`, and say
which side to blame: `ConnectFailed`, `AuthRefused`, `HostKeyMismatch`, `ConnectionLost` are the line;
`CommandFailed` and `TimedOut` are the command. A transport never retries a command.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from jobs.transport.endpoint import Endpoint


@dataclass(frozen=True)
class Completed:
    """A command that ended: exit status (negative: killed by that signal) and all its output."""

    exit_status: int
    stdout: bytes
    stderr: bytes


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
    def lines(self) -> AsyncIterator[bytes]:
        """Yield stdout line by line, without the newline; ends at end of file."""

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
    ) -> Completed:
        """Run a command to its end, within `deadline` seconds.

        Raises `CommandFailed` on a non-zero exit when `check` is set, `TimedOut` when the deadline
        passes (the command and its process group are killed), or an error of the line.
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
        """Read a file from byte `offset`, at most `limit` bytes. Raises `NotFound`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Free the line. Idempotent."""
