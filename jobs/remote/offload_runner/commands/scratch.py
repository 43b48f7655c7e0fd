"""`scratch`: the tree that an agent edits, made and read where the agent runs.

What `take` prints was written by the agent: it is a patch that the caller bounds, checks and applies to
objects of its own, and never a tree that anything is run in.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.removal import remove_tree
from jobs.remote.offload_runner.git import checkout, mirror
from jobs.remote.offload_runner.git.command import Git
from jobs.remote.offload_runner.protocol import EXIT_DATA, EXIT_OK

_IDENTITY = (
    "user.name=Offload",
    "user.email=offload@localhost",
    "user.useConfigOnly=false",
    "merge.conflictStyle=merge",
    "rerere.enabled=false",
)


def main(options: argparse.Namespace) -> int:
    """Make the tree at a commit, with a merge begun if one is named; or print its changes as a patch."""
    mirror.check_slug(options.repository)
    job = paths.job_paths(options.root, options.session)
    mirrored = mirror.Mirror(paths.mirror(options.root, options.repository))
    if options.what == "make":
        _make(job.agent_tree, mirrored, options)
        return EXIT_OK
    own = job.agent_tree.with_name("tree.git")
    remove_tree(own)
    own.mkdir(parents=True)
    # The agent's own repository may say anything by now.
    checkout.make_repository(mirrored, own, options.commit, options.session)
    git = Git(str(job.agent_tree))
    env = {"GIT_DIR": str(own / ".git"), "GIT_WORK_TREE": str(job.agent_tree)}
    git.run("read-tree", options.commit, env=env)
    git.run("add", "--all", env=env, config=("core.bare=false", "advice.addEmbeddedRepo=false"))
    words = ["diff", "--cached", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv"]
    done = git.run(*words, "--no-color", options.commit, "--", env=env, limit=options.limit, cut=True)
    if done.is_cut:
        raise RunnerError(
            "too_large", "The agent changed more than %d bytes." % options.limit, exit_code=EXIT_DATA
        )
    wire.emit_bytes(done.stdout)
    return EXIT_OK


def _make(tree: Path, mirrored: mirror.Mirror, options: argparse.Namespace) -> None:
    remove_tree(tree)
    tree.mkdir(parents=True, mode=0o700)
    checkout.make_repository(mirrored, tree, options.commit, options.session)
    git = Git(str(tree))
    git.run("reset", "--hard", "--quiet", options.commit, doing="Checking out %s" % options.commit[:10])
    if options.merge:
        # Exit code 1 says that there are conflicts, which are what the agent is asked to resolve.
        git.run("merge", "--no-commit", "--no-ff", "--quiet", options.merge, check=False, config=_IDENTITY)
