"""One task at work: its process, its output, its deadline, its end."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from jobs.remote.offload_runner.engine.link import Link, Sink
from jobs.remote.offload_runner.engine.task_log import TaskLog
from jobs.remote.offload_runner.files.paths import JobPaths, write_atomically
from jobs.remote.offload_runner.protocol import INTERRUPTED, PENDING, Task, expand

EXIT_TIMEOUT = 124
EXIT_CANNOT_RUN = 126
EXIT_NO_PROGRAM = 127
GRACE_SECONDS = 5.0


@dataclass
class TaskView:
    """What is known of a task, for the screen and for `status.json`."""

    task: Task
    state: str = PENDING
    exit_code: Optional[int] = None
    seconds: Optional[float] = None
    reason: str = ""
    tail: str = ""


class RunningTask(Sink):
    """A task from its start to its exit file. Everything here returns at once; `step` moves it on."""

    def __init__(
        self,
        paths: JobPaths,
        task: Task,
        values: Mapping[str, str],
        env: Mapping[str, str],
        link: Link,
        secrets: Mapping[str, str] = MappingProxyType({}),
        changed: Callable[[], None] = lambda: None,
        tty: Optional[Tuple[int, int]] = None,
    ) -> None:
        self.task = task
        self.paths = paths
        self.began = time.monotonic()
        self.deadline = self.began + task.timeout
        self.reason = ""
        self.exit_code: Optional[int] = None
        self.ended = False
        self.is_ending = False
        self.failure: Optional[OSError] = None
        self._link = link
        self._changed = changed
        try:
            paths.exit(task.id).unlink()
        except FileNotFoundError:
            pass
        # Of every secret of the job: what one task was given, another may come to see.
        self.log = TaskLog(paths.log(task.id), secrets=secrets.values())
        if task.argv is not None:
            self._argv = [expand(word, dict(values)) for word in task.argv]
        else:
            self._argv = ["/bin/sh", "-c", expand(task.shell or "", dict(values))]
        self._cwd = expand(task.cwd, dict(values))
        granted: Dict[str, str] = {name: secrets[name] for name in task.secrets}
        self._number = link.start(self, self._argv, self._cwd, {**env, **granted}, tty=tty)

    @property
    def seconds(self) -> float:
        """Return how long the task has been running."""
        return time.monotonic() - self.began

    def on_output(self, data: bytes) -> None:
        """Move output to the log; an error of the disk is kept in `failure`."""
        self._guarded(lambda: self.log.write(data))
        self._changed()

    def on_left(self, count: int) -> None:
        """Say in the log that processes are being ended."""
        self.is_ending = True
        self._guarded(lambda: self.log.note("Ending %d processes that the task left behind." % count))

    def on_failed(self, number: int, error: str) -> None:
        """Say in the log why the task could not be started."""
        missing = number == errno.ENOENT
        self.exit_code = EXIT_NO_PROGRAM if missing else EXIT_CANNOT_RUN
        self.reason = self.reason or ("not_found" if missing else "cannot_run")
        text = "Starting %s in %s failed: %s.\n" % (self._argv[0], self._cwd, error)
        self._guarded(lambda: self.log.write(text.encode("utf-8", "surrogateescape")))
        self.ended = True

    def on_exit(self, code: Optional[int], survivors: List[int]) -> None:
        """Keep the exit code."""
        if survivors:
            text = "These processes could not be ended: %s." % survivors
            self._guarded(lambda: self.log.note(text))
        self.exit_code = code
        if self.reason == "timeout":
            self.exit_code = EXIT_TIMEOUT
        elif code is None:
            self.reason = self.reason or INTERRUPTED
        self.ended = True

    def on_lost(self) -> None:
        """Note that the task was cut off: what it came to is unknown."""
        self.reason = self.reason or INTERRUPTED
        self.ended = True

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self.failure = self.failure or error

    def end(self, reason: str, grace: float = GRACE_SECONDS) -> None:
        """Begin to end every process of the task; the first reason given counts."""
        if not self.ended:
            self.is_ending = True
            self.reason = self.reason or reason
            self._link.end(self._number, grace)

    def step(self) -> bool:
        """Move on; return whether the task has ended and nothing of it runs any more."""
        if not self.ended and not self.is_ending and time.monotonic() >= self.deadline:
            limit = self.task.timeout
            self._guarded(
                lambda: self.log.note("Ending the task: it ran for its limit of %d seconds." % limit)
            )
            self.end("timeout")
        return self.ended

    def finish(self, keep_exit: bool) -> None:
        """Close the log and write the exit file. Raises `OSError` on a full disk."""
        self.log.close()
        if keep_exit and self.exit_code is not None:
            write_atomically(self.paths.exit(self.task.id), "%d\n" % self.exit_code)
