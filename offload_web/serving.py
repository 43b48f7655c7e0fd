"""`manage.py serve`: the dashboard and the reconcile loop as two children that never outlive their parent.

The parent opens the listening socket and keeps it, so that the port stays the same (and connections
wait) while a dead web child is started again. Each child reads a pipe that only the parent can write to:
however the parent dies, the pipe ends and the child goes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from jobs.errors import NotConfigured, OffloadError, Refused

BACKOFF_SECONDS = (0.5, 1, 2, 5, 10, 30)
STEADY_SECONDS = 60.0  # a child that lived this long starts again without a pause
READY_SECONDS = 30.0
STOP_SECONDS = 15.0
TICK_SECONDS = 0.5
BACKLOG = 128
# The working directory is the user's, so that `python -m` could import theirs; PYTHONPATH would reach the
# jobs' own processes.
_CHILD = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r}); "
    "from offload_web.child import main; main(sys.argv[1:])"
)


@dataclass(frozen=True)
class Serving:
    """A running dashboard: its address (without a slash at the end) and its parent process."""

    url: str
    pid: int


def read_serving(home: Path) -> Serving | None:
    """Return the dashboard that runs on this home, or None. A dead one's note does not count."""
    try:
        with (home / "serve.lock").open("rb") as lock:
            # The lock ends with its holder; a process id may belong to another process by now.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads((home / "serve.json").read_text(encoding="utf-8"))
            return Serving(url=str(note["url"]), pid=int(note["pid"]))
    return None


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the right to serve this home. Raises `Refused` while another process has it."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "serve.lock").open("ab") as lock:
        # A reader holds the lock for a moment.
        deadline = time.monotonic() + 1.0
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    other = read_serving(home)
                    where = f" at {other.url} (process {other.pid})" if other else ""
                    raise Refused(
                        f"The dashboard is running already{where}.",
                        hint="Stop that one first, or set OFFLOAD_HOME to keep a second one apart.",
                    ) from None
                time.sleep(0.05)
        try:
            yield
        finally:
            (home / "serve.json").unlink(missing_ok=True)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `NotConfigured` with the cause."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, family=socket.AF_INET, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise NotConfigured(
            f"Listening on {host}:{port} failed: {error.strerror or error}.",
            hint="Choose another port with --port (0: any free one), or stop what uses this one.",
        ) from error
    return listener


@dataclass
class Child:
    """One child process and the pipe that ties its life to ours."""

    name: str
    arguments: list[str]
    pass_fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    lifeline: int = -1
    started: float = 0.0
    failures: int = 0
    next_start: float = 0.0
    command: list[str] = field(default_factory=lambda: [sys.executable, "-P", "-c", _CHILD])

    def start(self) -> None:
        """Start the process."""
        read_end, self.lifeline = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*self.command, *self.arguments],
                stdin=read_end,
                pass_fds=self.pass_fds,
                # Ctrl-C in the terminal is for the parent, which then ends the children in order.
                start_new_session=True,
            )
        finally:
            os.close(read_end)
        self.started = time.monotonic()

    def died(self) -> int | None:
        """Return the exit status if the process ended since the last call; plan its next start."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self._forget()
        if time.monotonic() - self.started > STEADY_SECONDS:
            self.failures = 0
        pause = BACKOFF_SECONDS[min(self.failures, len(BACKOFF_SECONDS) - 1)]
        self.failures += 1
        self.next_start = time.monotonic() + pause
        return status

    def signal(self, number: int) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, deadline: float) -> None:
        """Wait for the process to end; kill its whole group at the deadline (monotonic seconds)."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._forget()

    def _forget(self) -> None:
        self.process = None
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1


class Supervisor:
    """Keeps the two children running until told to stop."""

    def __init__(self, listener: socket.socket, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self._ready_read, self._ready_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        fds = (listener.fileno(), self._ready_write)
        web = ["web", "--fd", str(fds[0]), "--ready-fd", str(fds[1])]
        self.children = [Child("dashboard", web, fds), Child("reconcile loop", ["reconcile"])]
        self._stop_signal = 0

    def start(self) -> None:
        """Start both children and wait for the dashboard to answer. Raises `OffloadError`."""
        for child in self.children:
            child.start()
        deadline = time.monotonic() + READY_SECONDS
        while not select.select([self._ready_read], [], [], 0.05)[0]:
            web = self.children[0].process
            if web is None or web.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise OffloadError("Starting the dashboard failed.", hint="Its own message is printed above.")
            if self._stop_signal:
                return
        os.read(self._ready_read, 64)
        draft = self.home / "serve.json.new"
        draft.write_text(json.dumps({"url": self.url, "pid": os.getpid()}), encoding="utf-8")
        draft.replace(self.home / "serve.json")

    def run(self) -> None:
        """Start dead children again until a signal says stop; then end them all."""
        try:
            while not self._stop_signal:
                if select.select([self._wake_read], [], [], TICK_SECONDS)[0]:
                    os.read(self._wake_read, 64)
                for child in self.children:
                    self._restart_if_ended(child)
        finally:
            self.stop()

    def _restart_if_ended(self, child: Child) -> None:
        status = child.died()
        if status is not None:
            pause = max(0.0, child.next_start - time.monotonic())
            print(
                f"The {child.name} ended ({_ending(status)}); it starts again in {pause:.1f} s.",
                file=sys.stderr,
                flush=True,
            )
        if child.process is None and time.monotonic() >= child.next_start and not self._stop_signal:
            child.start()

    def handle_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """Request the stop (a second signal changes nothing)."""
        self._stop_signal = self._stop_signal or number
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"!")

    def stop(self) -> None:
        """End both children and wait for them."""
        for child in self.children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in self.children:
            child.end(deadline)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
