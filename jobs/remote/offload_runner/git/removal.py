"""Removing a job's worktrees and refs, and looking afterwards whether they are gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.files.removal import remove_tree
from jobs.remote.offload_runner.git import bundles, mirror
from jobs.remote.offload_runner.git.mirror import Emit, Mirror
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE


def remove(root: Path, session: str, emit: Emit = lambda text: None) -> Dict[str, Any]:
    """Remove a job's worktrees, its HOME and its refs.

    Destroys work: call `check_clean` or `rescue` first. Absent is success. Returns `{"worktree": true,
    "refs": n}` after looking; raises `RunnerError` (`remove_failed`) for what is left.
    """
    job = paths.job_paths(root, session)
    mirrors = mirror.of_job(root, session)
    bundles.drop(root, session)
    refs = 0
    for mirrored in mirrors:
        with mirror.locked(mirrored.path, emit):
            _remove_trees(mirrored, job)
            refs += _drop_refs(mirrored, session)
    if not mirrors:
        _remove_trees(None, job)
    left = [str(path) for path in _trees(job) if os.path.lexists(path)]
    for mirrored in mirrors:
        left += [str(entry) for tree in _trees(job) for entry in mirrored.worktree_entries(tree)]
    if left:
        raise RunnerError(
            "remove_failed",
            "Removing the worktree of %s left %s." % (session, ", ".join(left)),
            hint="Something may still be writing there; stop it and remove the job again.",
            exit_code=EXIT_SOFTWARE,
        )
    return {"worktree": True, "refs": refs}


def _drop_refs(mirrored: Mirror, session: str) -> int:
    """Delete a job's refs; return how many there were. In what is no repository any more there are none."""
    if not mirrored.is_usable:
        return 0
    try:
        found = mirrored.session_refs(session)
        mirrored.heal(session)
        mirrored.drop_refs(session)
        left = mirrored.session_refs(session)
        why = "%s are still there" % ", ".join(left)
    except (RunnerError, OSError) as error:
        left, why = [session], str(error).rstrip(".")
    if left:
        raise RunnerError(
            "remove_failed",
            "Removing the refs of %s from %s failed: %s." % (session, mirrored.path, why),
            hint="If the mirror is damaged, remove it; the next job of this repository makes a new one.",
            exit_code=EXIT_SOFTWARE,
        )
    return len(found)


def _trees(job: JobPaths) -> List[Path]:
    earlier = job.worktree.with_name(job.session + ".base")  # where versions before the places had the base
    return [job.worktree, job.base_worktree, earlier, *job.homes, job.own_cache]


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
