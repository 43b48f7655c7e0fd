"""The base's tree, `{base_worktree}`: the merge base, checked out beside the head."""

from __future__ import annotations

from jobs.remote.offload_runner.git import worktree
from jobs.remote.offload_runner.steps.record import Job, say


def run(job: Job) -> int:
    """Make the base worktree if it is not there, and as the commit has it if it is. Exit code 0."""
    path = worktree.ensure_base(job.paths.root, job.paths.session, say)
    worktree.reset_base(job.paths.root, job.paths.session)
    say("%s is at %s, where the change starts from." % (path, job.merge_base[:10]))
    return 0
