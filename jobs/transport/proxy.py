"""A program that carries the bytes of a connection on its stdin and stdout, as OpenSSH's ProxyCommand does.

What it says on stderr is kept apart from the bytes: its last words are why a connection did not come about.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Sequence
from typing import Any

from jobs.errors import AuthRefused, ConnectFailed, NotConfigured, TransportError
from jobs.transport.endpoint import SshEndpoint

KEPT = 4096  # bytes of what it said
LINES = 3
LAST_WORDS_SECONDS = 2.0  # it has ended its output; stderr may come a little later


class ProxyMissing(NotConfigured):
    """The program that should carry the connection is not installed."""

    code = "proxy_missing"


class ProxyProcess(asyncio.SubprocessProtocol):
    """A running program; for the connection that `factory` makes it is the transport."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.connection = factory()
        self.said = b""
        self._process: Any = None
        self._stdin: Any = None
        self.died = False  # it ended by itself
        self._closing = False
        self._told = False
        self._ended = asyncio.Event()

    # What asyncio calls

    def connection_made(self, transport: Any) -> None:
        """The program runs."""
        self._process = transport
        self._stdin = transport.get_pipe_transport(0)
        self.connection.connection_made(self)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Hand on its output; keep its words."""
        if fd == 1:
            self.connection.data_received(data)
        else:
            self.said = (self.said + data)[-KEPT:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Its output or its words have ended; the connection hears of it when both have."""
        if fd == 1:
            asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._tell)

    def process_exited(self) -> None:
        """It has ended."""
        self.died = not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, and has said all it had to say."""
        self._ended.set()
        self._tell()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self.connection.connection_lost(None)

    # What the connection calls

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self._closing:
            self._stdin.write(data)

    def is_closing(self) -> bool:
        """Tell whether it was asked to end."""
        return self._closing

    def close(self) -> None:
        """End the program and what it started."""
        self._closing = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.get_pid(), signal.SIGTERM)
        self._process.close()

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the process by asyncio's names."""
        return self._process.get_extra_info(name, default)

    # What we call

    async def wait_closed(self) -> None:
        """Wait until it has ended."""
        await self._ended.wait()

    @property
    def status(self) -> int | None:
        """Its exit status, once it has ended."""
        status: int | None = self._process.get_returncode() if self._process is not None else None
        return status

    @property
    def words(self) -> str:
        """What it said last: from its last line that begins with "error" on, else its last lines."""
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[^\S\n]+", " ", self.said.decode(errors="replace"))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [index for index, line in enumerate(lines) if line.lower().startswith(("error", "fatal"))]
        start = errors[-1] if errors else max(0, len(lines) - LINES)
        return " ".join(lines[start : start + LINES])


class ProxyTunnel:
    """Makes connections through a program. `process` is the one that was started last.

    `name`: what errors call it; its first word if empty.
    """

    def __init__(self, endpoint: SshEndpoint, argv: Sequence[str], name: str = "") -> None:
        self._endpoint = endpoint
        self._argv = list(argv)
        self._name = name or self._argv[0]
        self.process: ProxyProcess | None = None

    async def create_connection(self, factory: Callable[[], Any], _host: str, _port: int) -> Any:
        """Start the program. Raises `ProxyMissing`."""
        loop = asyncio.get_running_loop()
        try:
            _, process = await loop.subprocess_exec(
                lambda: ProxyProcess(factory), *self._argv, start_new_session=True
            )
        except (FileNotFoundError, PermissionError) as error:
            raise ProxyMissing(
                f"Connecting to {self._endpoint} failed: there is no program {self._argv[0]}.",
                hint=f"Install {self._argv[0]}, or reach the machine in another way.",
            ) from error
        self.process = process
        return process, process.connection

    async def aclose(self) -> None:
        """End the program, if it runs."""
        if self.process is not None:
            self.process.close()
            await self.process.wait_closed()

    def explain(self, error: TransportError | NotConfigured) -> TransportError | NotConfigured:
        """Return an error of connecting with what the program said about it, and what that means."""
        process = self.process
        if not isinstance(error, ConnectFailed) or process is None:
            return error
        words, start = process.words, f"Connecting to {self._endpoint} failed"
        for one in self._endpoint.proxy_words:
            if re.search(one.pattern, words, re.IGNORECASE):
                kind = AuthRefused if one.refused else ConnectFailed
                return kind(f"{start}: {self._name} said: {words}", hint=one.hint)
        if not process.died:
            said = f" {self._name} said: {words}" if words else ""
            return ConnectFailed(f"{error.message}{said}", hint=error.hint)
        return ConnectFailed(
            f"{start}: {self._name} ended with exit status {process.status}: {words or 'it said nothing'}",
            hint="Try the same command by hand; is the machine up?",
        )
