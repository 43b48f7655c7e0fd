"""Two ways to a shell behind sshd: OpenSSH's client in a terminal, and a browser at Offload's bridge.

Both end in the same drawing: a terminal emulator that draws 10 MB/s, which is what xterm.js does on an
ordinary laptop. A local emulator reads when it has drawn; a browser reads whatever comes, and drops what
exceeds 50 MB.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import pty
import shlex
import signal
import struct
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.support.plain_terminals import PlainTerminals
from tests.support.sshd import Sshd
from tests.support.websocket import WebSocket

DRAW_RATE = 10e6
BROWSER_LIMIT = 50_000_000
ACK_EVERY = 64 * 1024
EMULATOR_BUFFER = 64 * 1024
TICK = 0.002
TAIL = 4096


class Drawing:
    """Bytes that arrived, and how many of them are drawn. `rate` 0 draws at once; None draws nothing."""

    def __init__(self, rate: float | None = 0.0) -> None:
        self.rate = rate
        self.received = 0
        self.drawn = 0
        self.lost = 0
        self.peak = 0
        self.digest = hashlib.sha256()
        self._size = 0
        self._left = 0
        self._tail = b""
        self._wanted: bytes | None = None
        self._found_at: int | None = None
        self._clock = time.perf_counter()
        self.changed = asyncio.Event()

    def arrive(self, data: bytes) -> None:
        """Take bytes from the line."""
        self.advance()
        if self._left:
            self._count(data)
        if self._wanted is not None and self._found_at is None:
            window = self._tail + data
            at = window.find(self._wanted)
            if at >= 0:
                self._found_at = self.received - len(self._tail) + at + len(self._wanted)
                if self._size:
                    self._left, self._size = self._size, 0
                    self._count(window[at + len(self._wanted) :])
            self._tail = window[-len(self._wanted) + 1 :] if len(self._wanted) > 1 else b""
        self.received += len(data)
        if self.backlog > BROWSER_LIMIT:
            self.lost += self.backlog - BROWSER_LIMIT
        if self.rate == 0:
            self.drawn = self.received
        self.peak = max(self.peak, self.backlog)
        self.changed.set()

    def advance(self) -> None:
        """Draw what time allows."""
        now = time.perf_counter()
        if self.rate:
            self.drawn = min(self.received, self.drawn + int((now - self._clock) * self.rate))
        self._clock = now

    @property
    def backlog(self) -> int:
        """Return the bytes that arrived and are not drawn."""
        return self.received - self.drawn

    def _count(self, data: bytes) -> None:
        part = data[: self._left]
        self.digest.update(part)
        self._left -= len(part)

    def watch(self, wanted: bytes, *, then: int = 0) -> None:
        """Look for these bytes in what comes from now on; take the digest of the `then` bytes after them."""
        self._size, self._left, self.digest = then, 0, hashlib.sha256()
        self._wanted, self._found_at, self._tail = wanted, None, b""

    async def counted(self, deadline: float = 120.0) -> str:
        """Wait until the bytes after the watched ones are here; return their sha256."""
        async with asyncio.timeout(deadline):
            while self._size or self._left:
                self.changed.clear()
                await self.changed.wait()
        return self.digest.hexdigest()

    async def seen(self, deadline: float = 60.0) -> None:
        """Wait until the watched bytes are drawn."""
        async with asyncio.timeout(deadline):
            while self._found_at is None or self.drawn < self._found_at:
                if self._found_at is not None and self.rate:
                    await asyncio.sleep(TICK)
                    self.advance()
                    self.changed.set()
                    continue
                self.changed.clear()
                await self.changed.wait()


class Client(Protocol):
    """An open terminal."""

    drawing: Drawing

    def write(self, data: bytes) -> None:
        """Type."""

    def cpu(self) -> float:
        """Return the processor seconds of what stands between sshd and the screen."""

    def memory(self) -> int:
        """Return its resident bytes."""

    async def aclose(self) -> None:
        """Hang up."""


class OpenSsh:
    """`ssh -tt` in a pseudo-terminal."""

    def __init__(self, sshd: Sshd, argv: Sequence[str], rate: float | None) -> None:
        self.drawing = Drawing(rate)
        command = [
            "ssh", "-F", "none", "-i", str(sshd.client_key), "-p", str(sshd.port), "-tt",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "ControlPath=none", "-e", "none", "127.0.0.1", shlex.join(argv),
        ]  # fmt: skip
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execvp(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.set_blocking(self.fd, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.fd, self._read)
        self._reading = True
        self._timer = self._loop.create_task(self._draw()) if rate else None

    def _read(self) -> None:
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self.fd)
            return
        self.drawing.arrive(data)
        if self.drawing.rate is None or (self.drawing.rate and self.drawing.backlog > EMULATOR_BUFFER):
            self._loop.remove_reader(self.fd)
            self._reading = False

    async def _draw(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.drawing.advance()
            if not self._reading and self.drawing.backlog <= EMULATOR_BUFFER:
                self._reading = True
                self._loop.add_reader(self.fd, self._read)

    def write(self, data: bytes) -> None:
        """Type."""
        os.write(self.fd, data)

    def cpu(self) -> float:
        """Return the ssh client's processor seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return the ssh client's resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def aclose(self) -> None:
        """Hang up."""
        if self._timer:
            self._timer.cancel()
        self._loop.remove_reader(self.fd)
        os.close(self.fd)
        try:
            os.kill(self.pid, signal.SIGHUP)
        except ProcessLookupError:
            pass
        await asyncio.to_thread(os.waitpid, self.pid, 0)


class Browser:
    """A WebSocket at Offload's bridge, with acknowledgements of what is drawn."""

    def __init__(self, server: PlainTerminals, socket: WebSocket, rate: float | None) -> None:
        self.drawing = Drawing(rate)
        self._server = server
        self._socket = socket
        self._acked = 0
        self._timer = asyncio.get_running_loop().create_task(self._draw()) if rate else None
        socket.listen(self._take)

    @classmethod
    async def open(cls, server: PlainTerminals, job: int, rate: float | None) -> Browser:
        """Open the terminal of the n-th command."""
        return cls(server, await server.connect(job), rate)

    def _take(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self.drawing.arrive(message)
            self._acknowledge()
        elif message.startswith('{"t":"ping"'):
            self._socket.send(message.replace("ping", "pong"))

    async def _draw(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.drawing.advance()
            self._acknowledge()

    def _acknowledge(self) -> None:
        if self.drawing.drawn - self._acked >= ACK_EVERY:
            self._acked = self.drawing.drawn
            self._socket.control("ack", n=self._acked)

    def write(self, data: bytes) -> None:
        """Type."""
        self._socket.send(data)

    def cpu(self) -> float:
        """Return the server's processor seconds."""
        return self._server.cpu()

    def memory(self) -> int:
        """Return the server's resident bytes."""
        return self._server.memory()

    async def aclose(self) -> None:
        """Close the socket."""
        if self._timer:
            self._timer.cancel()
        self._socket.kill()
