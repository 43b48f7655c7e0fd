"""Running a command of the repository from a step: as the job, and ended with all that it started."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence

from jobs.remote.offload_runner.engine import supervise
from jobs.remote.offload_runner.engine.environment import STEP_SOCKET, place_environment
from jobs.remote.offload_runner.engine.link import Link, Sink
from jobs.remote.offload_runner.engine.step_commands import short_name
from jobs.remote.offload_runner.engine.task import EXIT_CANNOT_RUN, EXIT_NO_PROGRAM, EXIT_TIMEOUT
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JOB, JobPaths
from jobs.remote.offload_runner.protocol import EXIT_UNAVAILABLE

GRACE_SECONDS = 2.0


class _Command(Sink):
    def __init__(self, argv0: str, output: Callable[[bytes], None]) -> None:
        self._argv0 = argv0
        self._output = output
        self.code: Optional[int] = None
        self.is_over = False
        self.is_lost = False

    def on_output(self, data: bytes) -> None:
        self._output(data)

    def on_failed(self, number: int, error: str) -> None:
        self._output(("Starting %s failed: %s.\n" % (self._argv0, error)).encode("utf-8", "replace"))
        self.code = EXIT_NO_PROGRAM if number == errno.ENOENT else EXIT_CANNOT_RUN
        self.is_over = True

    def on_exit(self, code: Optional[int], survivors: List[int]) -> None:
        self.code = code
        self.is_over = True

    def on_lost(self) -> None:
        self.is_lost = self.is_over = True


def run_as_job(
    paths: JobPaths,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    output: Callable[[bytes], None],
    given: Optional[bytes] = None,
    is_over: Callable[[], bool] = lambda: False,
    place: str = JOB,
) -> int:
    """Run a command in a place of the job, with that place's HOME and caches; return its exit code.

    `env` is added to this process's variables, `given` is its stdin, `timeout` is in seconds. It is ended as
    soon as `is_over` says so, which is asked after each output. 128 + N for
    signal N, 124 when the timeout ended it, 127 or 126 when it could not be started. Whatever it leaves
    behind is ended before this returns. Raises `RunnerError` when the line to the container is lost.
    """
    everything: Dict[str, str] = {**os.environ, **place_environment(paths.place(place)), **env}
    with _line(paths) as link:
        command = _Command(argv[0], output)
        number = link.start(command, argv, str(cwd), everything, given=given, place=place)
        try:
            timed_out = _wait(link, command, number, timeout, is_over)
        except BaseException:
            link.end(number, 0.0)
            raise
    if command.is_lost:
        raise RunnerError(
            "job_lost", "The line to the job's container was lost.", "Start it again.", EXIT_UNAVAILABLE
        )
    if timed_out:
        return EXIT_TIMEOUT
    return EXIT_CANNOT_RUN if command.code is None else command.code


def _wait(link: Link, command: _Command, number: int, timeout: float, is_over: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout
    timed_out = is_ended = False
    with selectors.DefaultSelector() as selector:
        link.watch(selector)
        try:
            while not command.is_over:
                left = None if timed_out else max(0.0, deadline - time.monotonic())
                for key, _ in selector.select(left):
                    key.data()
                if not is_ended and not command.is_over and is_over():
                    is_ended = True
                    link.end(number, GRACE_SECONDS)
                if not timed_out and not command.is_over and time.monotonic() >= deadline:
                    timed_out = True
                    link.end(number, GRACE_SECONDS)
        finally:
            link.unwatch()
    return timed_out


@contextlib.contextmanager
def _line(paths: JobPaths) -> Iterator[Link]:
    """Give a line to the runner's supervisor, or, on a bare worker, to one of this process's own."""
    child = 0
    if os.environ.get(STEP_SOCKET):
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.connect(short_name(paths))
    else:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _serve(theirs.fileno())
        theirs.close()
    target = os.dup(ours.fileno())
    try:
        yield Link(ours.fileno(), target)
    finally:
        os.close(target)
        ours.close()
        if child:
            os.waitpid(child, 0)


def _serve(line: int) -> NoReturn:
    """Be the supervisor, until the parent hangs up."""
    try:
        # What ends this step must not end the one that ends the command.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(line, 3)
        os.closerange(4, 256)
        supervise.Supervisor(None, 3, 3).serve()
    finally:
        os._exit(0)
