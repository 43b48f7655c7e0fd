"""`trees`: remove a job's worktrees, HOME and refs; runs where git runs, where no job's code is."""

from __future__ import annotations

import argparse

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.files.paths import job_paths
from jobs.remote.offload_runner.git import worktree


def main(options: argparse.Namespace) -> int:
    """Answer `{"type": "trees_removed", "session"}`."""
    paths = job_paths(options.root, options.session)
    worktree.remove(options.root, paths.session)
    wire.emit({"type": "trees_removed", "session": paths.session})
    return 0
