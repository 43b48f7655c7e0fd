"""The built-in tasks of plans. Each is a module with `run(job) -> exit code` that prints for people."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from pathlib import Path

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE, EXIT_USAGE
from jobs.remote.offload_runner.steps.record import Job

STEPS = (
    *("context", "conflicts", "base", "proof", "compare", "hunks", "agent", "triage", "fix", "fixed"),
    "synthesis",
)


def main(name: str, root: Path, session: str) -> int:
    """Run a built-in task and return its exit code. 0 and 1 are answers; 70 says that it could not work."""
    if name not in STEPS:
        raise RunnerError(
            "usage", "There is no step %r; there are %s." % (name, ", ".join(STEPS)), exit_code=EXIT_USAGE
        )
    # Imported one at a time: the runner's file has no compiled modules, so each costs time.
    step = importlib.import_module("%s.%s" % (__name__, name))
    with contextlib.suppress(ValueError):  # signals belong to the main thread
        # An exit, so that a step that is ended brings its trees back as they were.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return int(step.run(Job.load(paths.existing_job(root, session))))
    except RunnerError as exc:
        print(exc.message, exc.hint, file=sys.stderr)
        return EXIT_SOFTWARE
