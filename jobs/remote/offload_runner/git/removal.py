"""Removing a job's worktrees and refs, and looking afterwards whether they are gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.git import bundles, mirror
from jobs.remote.offload_runner.git.command import Git, raw
from jobs.remote.offload_runner.git.mirror import Emit, Mirror, remove_tree
from jobs.remote.offload_runner.git.unsaved import session_branches
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE


def remove(root: Path, session: str, emit: Emit = lambda text: None) -> Dict[str, Any]:
    """Remove a job's worktrees, their records in git, its refs and the branches made in its worktree.

    Destroys work: call `check_clean` or `rescue` first. Absent is success. Returns `{"worktree": true,
    "refs": n, "branches": [names]}` after looking; raises `RunnerError` (`remove_failed`) for what is left.
    """
    job = paths.job_paths(root, session)
    mirrors = mirror.of_job(root, session)
    bundles.drop(root, session)
    refs = 0
    branches: List[str] = []
    for mirrored in mirrors:
        with mirror.locked(mirrored.path, emit):
            names = _branches(job)
            _remove_trees(mirrored, job)
            refs += len(mirrored.session_refs(session))
            mirrored.heal(session)
            mirrored.drop_refs(session)
            branches += _drop_branches(mirrored, names)
    if not mirrors:
        _remove_trees(None, job)
    left = [str(path) for path in _trees(job) if os.path.lexists(path)]
    for mirrored in mirrors:
        left += mirrored.session_refs(session)
        left += [str(entry) for tree in _trees(job) for entry in mirrored.worktree_entries(tree)]
    if left:
        raise RunnerError(
            "remove_failed",
            "Removing the worktree of %s left %s." % (session, ", ".join(left)),
            hint="Something may still be writing there; stop it and remove the job again.",
            exit_code=EXIT_SOFTWARE,
        )
    return {"worktree": True, "refs": refs, "branches": branches}


def _trees(job: JobPaths) -> List[Path]:
    return [job.worktree, job.base_worktree]


def _remove_trees(mirrored: "Mirror | None", job: JobPaths) -> None:
    for tree in _trees(job):
        marker = tree.with_name(tree.name + ".making")
        try:
            if tree.exists():
                marker.touch()  # half a worktree must not be taken for a whole one
            remove_tree(tree)
            if mirrored is not None:
                mirrored.drop_worktree(tree)
            marker.unlink()
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise RunnerError(
                "remove_failed",
                "Removing %s failed: %s." % (tree, exc),
                hint="Files of another user are in it, or something still writes there.",
                exit_code=EXIT_SOFTWARE,
            ) from exc


def _branches(job: JobPaths) -> List[str]:
    git = Git(str(job.worktree))
    if not (job.worktree / ".git").is_file() or not git.ok("rev-parse", "--git-dir"):
        return []
    return session_branches(git)


def _drop_branches(mirrored: Mirror, names: List[str]) -> List[str]:
    listed = mirrored.git.out("worktree", "list", "--porcelain", "-z").decode("utf-8", "surrogateescape")
    in_use = {line[len("branch refs/heads/") :] for line in listed.split("\0") if line.startswith("branch ")}
    gone = [name for name in names if name not in in_use]
    if gone:
        deletions = "".join("delete refs/heads/%s\n" % name for name in gone)
        mirrored.git.run("update-ref", "--stdin", input=raw(deletions))
    return gone
