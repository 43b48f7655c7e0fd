"""`clean`: take a job off this machine without losing work, and look whether it is gone.

In this order: check, end the processes, bundle what is nowhere else, end the session, remove the
worktrees, remove the job's files. Whatever fails stops the rest; the same call goes on where it ended.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Dict, List, Optional

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.commands.stop import left, stop
from jobs.remote.offload_runner.engine.process import Ending
from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JobPaths, job_paths
from jobs.remote.offload_runner.git import worktree
from jobs.remote.offload_runner.git.mirror import remove_tree
from jobs.remote.offload_runner.protocol import EXIT_OK, EXIT_REFUSED, EXIT_SOFTWARE
from jobs.remote.offload_runner.screen.tmux import Tmux, from_options

_GRACE_SECONDS = 5.0
_LISTED = 5


def main(options: argparse.Namespace) -> int:
    """Answer `{"type": "cleaned", "session", "worktree", "processes", "tmux", "bundle"}`.

    `worktree` and `tmux` say that they are gone. With `--check` nothing is touched.
    """
    paths = job_paths(options.root, options.session)
    if not options.force:
        _refuse_to_lose(paths)
    if options.check:
        wire.emit({"type": "cleaned", "session": paths.session, "checked": True, "bundle": None})
        return EXIT_OK
    bundle: Optional[str] = None
    if paths.job_dir.is_dir():
        stop(paths, _GRACE_SECONDS)
    if options.force:
        bundle = worktree.rescue(options.root, paths.session)
    _end_panes(paths)
    tmux = from_options(options)
    _end_sessions(tmux, paths.session)
    worktree.remove(options.root, paths.session)
    if not options.keep_files:
        _remove_files(paths)
    answer: Dict[str, Any] = {"type": "cleaned", "session": paths.session, "worktree": True, "tmux": True}
    wire.emit({**answer, "processes": len(left(paths)), "bundle": bundle})
    return EXIT_OK


def _refuse_to_lose(paths: JobPaths) -> None:
    """Raise `RunnerError` when removing the job now would lose work or end a run."""
    insist = "Use --force: the work is bundled first."
    if paths.job_dir.is_dir() and is_held(paths.lock):
        raise RunnerError(
            "running", "%s is at work." % paths.session, "Cancel it first, or use --force.", EXIT_REFUSED
        )
    found = worktree.check_clean(paths.root, paths.session)
    for code, words in (
        ("unpushed", "commits that are nowhere else"),
        ("uncommitted", "uncommitted changes"),
    ):
        if found[code]:
            raise RunnerError(
                code,
                "The worktree of %s has %s: %s." % (paths.session, words, _listed(found[code])),
                insist,
                EXIT_REFUSED,
                unpushed=found["unpushed"],
                uncommitted=found["uncommitted"],
            )


def _listed(items: List[str]) -> str:
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (" and %d more" % more if more > 0 else "")


def _end_panes(paths: JobPaths) -> None:
    """End what panes run inside a container: killing a pane on the host does not reach it."""
    Ending(0, paths.pane_mark, _GRACE_SECONDS).wait()


def _end_sessions(tmux: Tmux, session: str) -> None:
    """End the job's session and the side shell in its worktree."""
    try:
        gone = [tmux.kill(name) for name in (session, "side-" + session)]
    except RunnerError as error:
        if error.code != "no_tmux":
            raise
        return
    if not all(gone):
        raise RunnerError(
            "tmux_failed",
            "The tmux session of %s is still there after it was killed." % session,
            "Look at the tmux server on the worker.",
            EXIT_SOFTWARE,
        )


def _remove_files(paths: JobPaths) -> None:
    # Renamed first: nobody who looks at jobs sees half of one.
    trash = Path(os.path.join(str(paths.root), "jobs", ".removing-" + paths.session))
    for _ in range(2):
        if trash.exists():
            remove_tree(trash)
        if paths.job_dir.exists():
            os.rename(str(paths.job_dir), str(trash))
    if trash.exists() or paths.job_dir.exists():
        raise RunnerError(
            "remove_failed",
            "Removing %s left files there." % paths.job_dir,
            "Something may still be writing there; stop it and remove the job again.",
            EXIT_SOFTWARE,
        )
