"""A real `manage.py serve` in a home of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from offload_web.serving import Serving, read_serving

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 40.0


def until(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Wait for a condition; fail by name when it does not come."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"waited {deadline:g} s for {what}"
        time.sleep(0.03)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.parent.name))
    return sorted(found)


class Dashboard:
    """A running `serve`: `url`, `pid`, `output()`, and commands in the same home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOAD_")} | {
            "OFFLOAD_HOME": str(home), "DJANGO_SETTINGS_MODULE": "offload_web.settings",
        }  # fmt: skip
        self._log = home / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.serving: Serving | None = None

    def start(self, *arguments: str) -> Serving:
        """Start it on a free port and wait until it answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve", "--port", "0", "--no-open", *arguments],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
            )  # fmt: skip
        process = self.process
        until(lambda: read_serving(self.home) or process.poll() is not None, f"serve: {self.output()}")
        self.serving = read_serving(self.home)
        assert self.serving is not None, self.output()
        until(lambda: "/login/?token=" in self.output(), "the login link")
        return self.serving

    def output(self) -> str:
        """What it has said so far."""
        return self._log.read_text() if self._log.exists() else ""

    def link(self) -> str:
        """A fresh login link."""
        return self.manage("serve", "--link").strip()

    def manage(self, *arguments: str) -> str:
        """Run a command in the same home; return what it printed."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        """Run code with Django set up in the same home; return what it printed."""
        setup = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import django; django.setup()\n"
        command = [sys.executable, "-c", setup + code]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """End it, and be sure."""
        if self.process is None:
            return
        below = children(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        until(lambda: not any(alive(pid) for pid in below), "the children's end")


@contextlib.contextmanager
def dashboard(home: Path, *arguments: str) -> Iterator[Dashboard]:
    """Serve from this home for the length of a block."""
    served = Dashboard(home)
    try:
        served.start(*arguments)
        yield served
    finally:
        served.stop()
