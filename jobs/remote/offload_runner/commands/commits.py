"""`commits`: print a git bundle of the commits that were made in a job's worktree."""

from __future__ import annotations

import argparse

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.commands.clean import in_job
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import existing_job, job_paths
from jobs.remote.offload_runner.git import job_repository
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND, EXIT_OK

_MOST_BYTES = 128 * 1024 * 1024


def main(options: argparse.Namespace) -> int:
    """Print the bundle. git obeys the job's repository, so it runs where the job's code runs."""
    # The job's code does not see its control files.
    find = job_paths if options.here else existing_job
    paths = find(options.root, options.session)
    if options.containers is not None:
        words = ["commits", "--here", "--session", paths.session]
        wire.emit_bytes(in_job(paths, options.containers, words, b"", _MOST_BYTES))
        return EXIT_OK
    git = job_repository.in_job(paths.worktree)
    known = "--glob=refs/offload/*"
    if not git.commit("HEAD") or not git.line("rev-list", "--max-count=1", "HEAD", "--not", known, "--"):
        raise RunnerError(
            "no_commits",
            "The worktree of %s has no commit of its own." % paths.session,
            "Commit there first: `offload shell`.",
            EXIT_NOT_FOUND,
        )
    wire.emit_bytes(
        git.run(
            "bundle", "create", "--quiet", "-", "HEAD", "--not", known,
            limit=_MOST_BYTES, doing="Packing the commits of %s" % paths.session,
        ).stdout
    )  # fmt: skip
    return EXIT_OK
