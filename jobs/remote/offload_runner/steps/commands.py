"""Running a repository's own command from a step. Every such command goes through `run_command`."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO, List, Mapping

from jobs.remote.offload_runner.engine.task import EXIT_CANNOT_RUN, EXIT_NO_PROGRAM, EXIT_TIMEOUT
from jobs.remote.offload_runner.git.command import raw, shown
from jobs.remote.offload_runner.steps.record import Job

LOG_CAP = 50 * 1024 * 1024
_READ_BYTES = 65536


def run_command(
    job: Job, argv: List[str], *, cwd: Path, env: Mapping[str, str], timeout: float, log: Path
) -> int:
    """Run a command of the repository's own, write its output to `log` and to the task's log.

    `env` is added to the step's environment, `timeout` is in seconds. Returns the exit code (128 + N for
    signal N), 124 when the timeout ended it, 127 or 126 when it could not be started. Processes that the
    command leaves behind are ended.
    """
    environment = {**os.environ, **env}
    with open(log, "wb") as output:
        try:
            process = subprocess.Popen(
                [raw(word) for word in argv],
                cwd=str(cwd),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as exc:
            text = "Starting %s failed: %s.\n" % (shown(argv[0]), exc.strerror)
            _write(output, text.encode("utf-8", "replace"))
            return EXIT_NO_PROGRAM if isinstance(exc, FileNotFoundError) else EXIT_CANNOT_RUN
        try:
            ended = _copy(process, output, time.monotonic() + timeout)
        finally:
            # What it left running goes with it, and so does everything when this step is ended.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            if process.stdout is not None:
                process.stdout.close()
    if not ended:
        return EXIT_TIMEOUT
    return 128 - code if code < 0 else code


def _copy(process: "subprocess.Popen[bytes]", output: BinaryIO, deadline: float) -> bool:
    """Copy the command's output until it ends; return whether it ended in time."""
    pipe = process.stdout.fileno() if process.stdout is not None else -1
    os.set_blocking(pipe, False)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        is_open = True
        while True:
            ended = process.poll() is not None
            while is_open and (ended or selector.select(min(0.05, max(0.0, deadline - time.monotonic())))):
                try:
                    data = os.read(pipe, _READ_BYTES)
                except BlockingIOError:
                    break
                if not data:
                    is_open = False
                    selector.unregister(pipe)
                    break
                _write(output, data)
                if time.monotonic() >= deadline and not ended:
                    return False
            if ended:
                return True
            if time.monotonic() >= deadline:
                return False
            if not is_open:
                time.sleep(0.01)


def _write(output: BinaryIO, data: bytes) -> None:
    room = LOG_CAP - output.tell()
    if room > 0:
        output.write(data[:room])
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
