"""Running a repository's own command from a step. Every such command goes through `run_command`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import List, Mapping

from jobs.remote.offload_runner.engine.job_command import run_as_job
from jobs.remote.offload_runner.steps.record import Job

LOG_CAP = 50 * 1024 * 1024


def run_command(
    job: Job, argv: List[str], *, cwd: Path, env: Mapping[str, str], timeout: float, log: Path, place: str
) -> int:
    """Run a command of the repository's own, write its output to `log` and to the task's log.

    It runs as the job in one of its places (`files.paths.Place`). `env` is added to the step's environment,
    `timeout` is in seconds. Returns the exit code (128 + N for signal N), 124 when the timeout
    ended it, 127 or 126 when it could not be started. Processes that the command leaves behind are ended.
    """
    with open(log, "wb") as output:

        def write(data: bytes) -> None:
            room = LOG_CAP - output.tell()
            if room > 0:
                output.write(data[:room])
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

        return run_as_job(job.paths, argv, cwd=cwd, env=env, timeout=timeout, output=write, place=place)
