"""One task at work: its process, its output, its deadline, its end."""

from __future__ import annotations

import os
import subprocess
import time
from types import MappingProxyType
from typing import Dict, Mapping, Optional

from jobs.remote.offload_runner.engine.environment import mark_of, task_environment
from jobs.remote.offload_runner.engine.process import Ending, identity
from jobs.remote.offload_runner.engine.task_log import TaskLog
from jobs.remote.offload_runner.files.paths import JobPaths, write_atomically
from jobs.remote.offload_runner.protocol import Task, expand

EXIT_TIMEOUT = 124
EXIT_CANNOT_RUN = 126
EXIT_NO_PROGRAM = 127
GRACE_SECONDS = 5.0
_READ_BYTES = 65536
# Output of the task's last moments may still be in the pipe; a stranger that holds it open is not waited for.
_DRAIN_READS = 64


class RunningTask:
    """A task from its start to its exit file. Everything here returns at once; `step` moves it on."""

    def __init__(
        self,
        paths: JobPaths,
        task: Task,
        values: Mapping[str, str],
        secrets: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.task = task
        self.paths = paths
        self.began = time.monotonic()
        self.deadline = self.began + task.timeout
        self.reason = ""
        self.exit_code: Optional[int] = None
        self.pid = 0
        self.identity = ""
        self.output = -1
        self.ended = False
        self._ending: Optional[Ending] = None
        self._process: Optional["subprocess.Popen[bytes]"] = None
        try:
            paths.exit(task.id).unlink()
        except FileNotFoundError:
            pass
        # Of every secret of the job: what one task was given, another may come to see.
        self.log = TaskLog(paths.log(task.id), secrets=secrets.values())
        self._spawn(dict(values), {name: secrets[name] for name in task.secrets})

    def _spawn(self, values: Dict[str, str], secrets: Dict[str, str]) -> None:
        task = self.task
        if task.argv is not None:
            argv = [expand(word, values) for word in task.argv]
        else:
            argv = ["/bin/sh", "-c", expand(task.shell or "", values)]
        cwd = expand(task.cwd, values)
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**task_environment(self.paths, task, values), **secrets},
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                start_new_session=True,
            )
        except OSError as error:
            os.close(reader)
            missing = isinstance(error, FileNotFoundError)
            self.exit_code = EXIT_NO_PROGRAM if missing else EXIT_CANNOT_RUN
            self.reason = "not_found" if missing else "cannot_run"
            text = "Starting %s in %s failed: %s." % (argv[0], cwd, error.strerror)
            self.log.write((text + "\n").encode())
            return
        finally:
            os.close(writer)
        os.set_blocking(reader, False)
        self.output = reader
        self.pid = self._process.pid
        self.identity = identity(self.pid)

    @property
    def seconds(self) -> float:
        """Return how long the task has been running."""
        return time.monotonic() - self.began

    @property
    def is_ending(self) -> bool:
        """Whether its processes are being ended now."""
        return self._ending is not None

    def read(self) -> bool:
        """Move output to the log; return whether there may be more. Raises `OSError` on a full disk."""
        if self.output < 0:
            return False
        try:
            data = os.read(self.output, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close_output()
            return False
        self.log.write(data)
        return True

    def _drain(self) -> None:
        for _ in range(_DRAIN_READS):
            if not self.read():
                break

    def _close_output(self) -> None:
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def end(self, reason: str, grace: float = GRACE_SECONDS) -> None:
        """Begin to end every process of the task; the first reason given counts."""
        if self._ending is None:
            self.reason = self.reason or reason
            self._ending = Ending(self.pid, mark_of(self.paths, self.task.id), grace)

    def step(self) -> bool:
        """Move on; return whether the task has ended and nothing of it runs any more."""
        if self.ended:
            return True
        if self._process is None:
            self.ended = True
        elif self._ending is not None:
            self._process.poll()
            if self._ending.step():
                self._collect()
        elif self._process.poll() is not None:
            # A task is over with its first process; what it left behind goes with it.
            self._ending = Ending(self.pid, mark_of(self.paths, self.task.id), GRACE_SECONDS)
            left = self._ending.alive()
            if left:
                self._drain()  # what it said itself comes before what is said of it
                self.log.note("Ending %d processes that the task left behind." % len(left))
            return self.step()
        elif time.monotonic() >= self.deadline:
            self.log.note("Ending the task: it ran for its limit of %d seconds." % self.task.timeout)
            self.end("timeout")
            return self.step()
        return self.ended

    def _collect(self) -> None:
        self.ended = True
        code = None if self._process is None else self._process.poll()
        survivors = set() if self._ending is None else self._ending.survivors
        if survivors:
            self.log.note("These processes could not be ended: %s." % sorted(survivors))
        # Shells write death by a signal as 128 + its number.
        self.exit_code = None if code is None else (128 - code if code < 0 else code)
        if self.reason == "timeout":
            self.exit_code = EXIT_TIMEOUT

    def finish(self, keep_exit: bool) -> None:
        """Take the last output and write the exit file. Raises `OSError` on a full disk."""
        try:
            self._drain()
        finally:
            self._close_output()
            self.log.close()
        if keep_exit and self.exit_code is not None:
            write_atomically(self.paths.exit(self.task.id), "%d\n" % self.exit_code)
