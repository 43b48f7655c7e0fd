"""The real `manage.py` in a home of its own: as a subprocess, or inside a terminal.

`start` and `terminal` start another Python. So does `run` when the environment speaks to Python itself;
otherwise its process is forked from one that has imported everything (`tests.support.zygote`), which does
the same in a tenth of the time.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.cli.main import make_command, run_verb
from jobs.cli.parser import find_verb
from tests.support.offload_home import give_database, worker_root
from tests.support.zygote import SHARED, needs_a_start

ROOT = Path(__file__).resolve().parents[2]
MANAGE = str(ROOT / "manage.py")
DEADLINE = 60.0


class Cli:
    """Offload's command line, with `home` as OFFLOAD_HOME and `cwd` as the current directory."""

    def __init__(self, home: Path, cwd: Path) -> None:
        self.home = home
        self.cwd = cwd
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}
        self.env |= {
            "OFFLOAD_HOME": str(home),
            "OFFLOAD_CONTAINER": "never",
            "DJANGO_SETTINGS_MODULE": "offload_web.settings",
            "TERM": "xterm-256color",
        }
        self.env.pop("TMUX", None)

    def argv(self, *words: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, MANAGE, *words]

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command without a terminal."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command without a terminal and check its exit code (None: whatever)."""
        done = self._forked(words) or self.run_anew(*words)
        if code is not None and done.returncode != code:
            raise AssertionError(
                f"{words} ended with {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def run_anew(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command without a terminal in a Python that is started for it."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=DEADLINE)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def _forked(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str] | None:
        if needs_a_start(self.env):
            return None
        ended = SHARED.run(words, env=self.env, cwd=str(self.cwd))
        return subprocess.CompletedProcess(words, ended.status, ended.out, ended.err) if ended else None

    def json(self, *words: str, code: int | None = 0) -> Any:
        """Run a command with --json and return what it printed."""
        return json.loads(self.run(*words, "--json", code=code).stdout)

    @contextmanager
    def terminal(self, *words: str, rows: int = 30, columns: int = 100) -> Iterator[Terminal]:
        """Run a command inside a terminal of its own."""
        terminal = Terminal(self.argv(*words), cwd=self.cwd, env=self.env, rows=rows, columns=columns)
        try:
            yield terminal
        finally:
            terminal.close()


class Terminal:
    """A person's terminal: a pty whose other side is a command's controlling terminal."""

    def __init__(self, argv: list[str], *, cwd: Path, env: dict[str, str], rows: int, columns: int) -> None:
        self.seen = b""
        self.master, self._slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self._slave)
        # `setsid -c` would do the same; Python's own way needs no code between fork and exec.
        take = (
            "import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", take, *argv],
            cwd=cwd,
            env=env,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
        )

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the kernel tells the command."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        """Type."""
        os.write(self.master, data)

    def read(self, seconds: float) -> bool:
        """Take what the command writes within `seconds`; return whether there was anything."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if ready:
            self.seen += os.read(self.master, 65536)
        return bool(ready)

    def expect(self, text: str, deadline: float = DEADLINE) -> None:
        """Wait until the command has written `text`."""
        end = time.monotonic() + deadline
        while text.encode() not in self.seen:
            if time.monotonic() > end:
                raise AssertionError(f"{text!r} did not come; seen:\n{self.seen.decode(errors='replace')}")
            self.read(0.2)

    def type_until(self, data: bytes, text: str) -> None:
        """Type, and again each two seconds, until `text` comes: a shell may drop what is typed ahead."""
        for _ in range(int(DEADLINE / 2)):
            self.type(data)
            try:
                return self.expect(text, 2.0)
            except AssertionError:
                continue
        raise AssertionError(f"{text!r} did not come; seen:\n{self.seen.decode(errors='replace')}")

    def wait(self, deadline: float = DEADLINE) -> int:
        """Wait for the command's end, reading all the while; return its exit code."""
        end = time.monotonic() + deadline
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"It did not end; seen:\n{self.seen.decode(errors='replace')}")
            self.read(0.1)
        while self.read(0):
            pass
        return self.process.returncode

    def is_restored(self) -> bool:
        """Whether the terminal's settings are as they were before the command."""
        return termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        """End what still runs, and the terminal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)


async def run_here(*words: str) -> int:
    """Run a verb of `offload` in this process; return its exit code. Raises the error it ends in."""
    name, rest = find_verb(words)
    return await run_verb(name, make_command(name, rest))


@contextmanager
def offload_cli(tmp: Path) -> Iterator[Cli]:
    """Give a command line with a home of its own; its worker's processes and tmux server end afterwards."""
    home = tmp / "home"
    (tmp / "cwd").mkdir()
    give_database(home)
    with worker_root(home / "worker", str(Path.home() / ".offload")):
        yield Cli(home, tmp / "cwd")
