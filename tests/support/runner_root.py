"""A worker's root in a temporary directory, with the real runner in it and a tmux server of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.remote import bundle
from jobs.remote.layout import Layout
from jobs.remote.offload_runner.engine.process import MARK, marked
from jobs.remote.offload_runner.protocol import Plan, Task
from tests.support.offload_home import keep_compiled

SESSION = "offload-demo-1-review"


def wait_for(what: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return the first true answer of `what`; fail after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class RunnerRoot:
    """Lays out jobs by hand and runs the zipapp on them as a worker would."""

    def __init__(self, python: str = sys.executable) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="offload-runner-"))
        self.python = python
        self.layout = Layout(str(self.path), tmux_socket=f"t-{self.path.name}", python=python)
        built = bundle.current()
        self.runner = Path(self.layout.runner(built.digest))
        keep_compiled(self.path)
        self.runner.write_bytes(built.data)
        self._children: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        """End every process that was started here, and remove the files."""
        subprocess.run(self.layout.tmux_argv("kill-server"), capture_output=True, check=False)
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()
        for pid in marked(f"{self.path}/", prefix=True):
            with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        # Runners whose session was killed write their last lines yet.
        wait_for(lambda: not self._processes())
        shutil.rmtree(self.path)

    def _processes(self) -> set[int]:
        found = marked(f"{self.path}/", prefix=True)
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.path).encode() in entry.read_bytes():
                    found.add(int(entry.parent.name))
        return found

    def job(self, tasks: Sequence[Task], session: str = SESSION, **plan: Any) -> Path:
        """Lay out a job with a plan; return its directory."""
        directory = self.path / "jobs" / session
        directory.mkdir(parents=True)
        (self.path / "worktrees" / session).mkdir(parents=True)
        job = plan.pop("job", {"target": "#1", "action": "review"})
        (directory / "plan.json").write_text(Plan(job=job, tasks=list(tasks), **plan).dumps())
        return directory

    def argv(self, *words: str) -> list[str]:
        """Return a command line of the runner."""
        socket = self.layout.tmux_socket or ""
        return [self.python, str(self.runner), "--root", str(self.path), "--tmux-socket", socket, *words]

    def call(
        self, *words: str, spec: Any = None, env: dict[str, str] | None = None, timeout: float = 60
    ) -> Any:
        """Run a command to its end."""
        return subprocess.run(
            self.argv(*words),
            input=json.dumps(spec).encode() if spec is not None else b"",
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **(env or {})},
        )

    def lines(self, *words: str, spec: Any = None) -> list[dict[str, Any]]:
        """Run a command that must succeed; return its answer without the greeting."""
        done = self.call(*words, spec=spec)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()][1:]

    def spawn(self, *words: str, spec: Any = None) -> subprocess.Popen[bytes]:
        """Start a command; it is ended by `close` at the latest."""
        child = subprocess.Popen(
            self.argv(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._children.append(child)
        assert child.stdin is not None
        if spec is not None:
            child.stdin.write(json.dumps(spec).encode())
        child.stdin.close()
        return child

    def run(self, session: str = SESSION, *words: str) -> Any:
        """Work through a job's plan without a terminal."""
        return self.call("run", "--session", session, *words)

    def spawn_run(self, session: str = SESSION) -> subprocess.Popen[bytes]:
        """Start to work through a job's plan without a terminal."""
        return self.spawn("run", "--session", session)

    def events(self, session: str = SESSION) -> list[dict[str, Any]]:
        """Return the whole lines of a job's journal."""
        path = self.path / "jobs" / session / "events.jsonl"
        data = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def outcomes(self, session: str = SESSION) -> dict[str, str]:
        """Return the last state of each task in the journal."""
        done = [event for event in self.events(session) if event["kind"] == "task_finished"]
        return {event["task"]: event["state"] for event in done}

    def kinds(self, kind: str, session: str = SESSION) -> list[dict[str, Any]]:
        """Return the events of one kind."""
        return [event for event in self.events(session) if event["kind"] == kind]

    def log(self, task: str, session: str = SESSION) -> str:
        """Return a task's log; empty when there is none yet."""
        path = self.path / "jobs" / session / "tasks" / f"{task}.log"
        return path.read_text() if path.exists() else ""

    def start(self, session: str = SESSION) -> dict[str, Any]:
        """Start a job in tmux."""
        return self.lines("start", spec={"session": session})[-1]

    def tmux(self, *words: str) -> str:
        """Run a tmux command on this root's server; return what it printed."""
        return subprocess.run(
            self.layout.tmux_argv(*words), capture_output=True, text=True, check=False
        ).stdout

    def left(self, session: str = SESSION) -> set[int]:
        """Return the processes that a job's tasks left behind."""
        assert MARK
        return marked(str(self.path / "jobs" / session / "tasks") + "/", prefix=True)
