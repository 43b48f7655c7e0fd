"""The built-in tasks of plans. Each is a module with `run(job) -> exit code` that prints for people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable, Dict

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE, EXIT_USAGE
from jobs.remote.offload_runner.steps.agent import run as agent
from jobs.remote.offload_runner.steps.base_worktree import run as base_worktree
from jobs.remote.offload_runner.steps.conflicts import run as conflicts
from jobs.remote.offload_runner.steps.context import run as context
from jobs.remote.offload_runner.steps.proof import run as proof
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.synthesis import run as synthesis

STEPS: Dict[str, Callable[[Job], int]] = {
    "context": context,
    "conflicts": conflicts,
    "base-worktree": base_worktree,
    "proof": proof,
    "agent": agent,
    "synthesis": synthesis,
}


def main(name: str, root: Path, session: str) -> int:
    """Run a built-in task and return its exit code. 0 and 1 are answers; 70 says that it could not work."""
    if name not in STEPS:
        raise RunnerError(
            "usage", "There is no step %r; there are %s." % (name, ", ".join(STEPS)), exit_code=EXIT_USAGE
        )
    try:
        return STEPS[name](Job.load(paths.existing_job(root, session)))
    except RunnerError as exc:
        print(exc.message, exc.hint, file=sys.stderr)
        return EXIT_SOFTWARE
