"""`clean`: take a job off this machine without losing work, and look whether it is gone.

In this order: check, end the processes, bundle what is nowhere else, end the session, remove the
worktrees, remove the job's files. Whatever fails stops the rest; the same call goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.commands.stop import stop
from jobs.remote.offload_runner.engine.containers import PYTHON, Containers
from jobs.remote.offload_runner.engine.link import SupervisorProcess
from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JobPaths, job_paths
from jobs.remote.offload_runner.files.removal import remove_tree
from jobs.remote.offload_runner.git import environments, unsaved, worktree
from jobs.remote.offload_runner.protocol import (
    EXIT_NOT_FOUND,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_SOFTWARE,
    ISOLATED,
)
from jobs.remote.offload_runner.screen.tmux import Tmux, from_options

_GRACE_SECONDS = 5.0
_LISTED = 5
_GIT_SECONDS = 600.0
_SURVEY_BYTES = 16 * 1024 * 1024
_BUNDLE_BYTES = 512 * 1024 * 1024


def main(options: argparse.Namespace) -> int:
    """Answer `{"type": "cleaned", "session", "worktree", "processes", "tmux", "bundle", "kept", "because"}`.

    `worktree` and `tmux` say that they are gone. With `--check` nothing is touched. `kept`: where a worktree
    was moved whose work could not be bundled, and `because`: why.
    """
    paths = job_paths(options.root, options.session)
    if not options.force:
        _refuse_to_lose(paths, options.containers, options.pushed)
    if options.check:
        wire.emit({"type": "cleaned", "session": paths.session, "checked": True, "bundle": None})
        return EXIT_OK
    rescued: Dict[str, Any] = {"bundle": None}
    tmux = from_options(options)
    if paths.job_dir.is_dir():
        stop(paths, _GRACE_SECONDS, options.containers, tmux)
    if options.force:
        rescued = _rescue(paths, options.containers, options.pushed)
    _end_sessions(tmux, paths.session)
    _remove_trees(paths, options.containers)
    if not options.keep_files:
        _remove_files(paths)
    environments.prune(options.root)
    answer: Dict[str, Any] = {"type": "cleaned", "session": paths.session, "worktree": True, "tmux": True}
    wire.emit({**answer, "processes": 0, **rescued})
    return EXIT_OK


def survey(paths: JobPaths, containers: Optional[Containers], pushed: Sequence[str] = ()) -> Dict[str, Any]:
    """Return what the worktree holds that is nowhere else; git runs where the job's code does.

    `pushed`: commits that the forge has. Raises `RunnerError` (`unsaved_unknown`).
    """
    try:
        if unsaved.has_lost_git(paths):
            raise ValueError("its .git is missing")
        if containers is None:
            return unsaved.survey(paths.root, paths.session, pushed)
        words = ["unsaved", "list", "--session", paths.session]
        words += [word for sha in pushed for word in ("--pushed", sha)]
        said = in_job(paths, containers, words, b"", _SURVEY_BYTES)
        return unsaved.checked(json.loads(said))
    except (RunnerError, OSError, ValueError, RecursionError) as error:
        raise RunnerError(
            "unsaved_unknown",
            "What is unsaved in %s is unknown: %s." % (paths.worktree, str(error).rstrip(".")),
            "Use --force to remove it all the same.",
            EXIT_REFUSED,
        ) from error


def _rescue(paths: JobPaths, containers: Optional[Containers], pushed: Sequence[str]) -> Dict[str, Any]:
    """Save what is nowhere else: in a bundle, else by moving the worktree. Return fields of the answer."""
    if not os.path.lexists(str(paths.worktree)):
        return {"bundle": None}
    try:
        seen = survey(paths, containers, pushed)
    except RunnerError as error:
        # Where git does not work in a worktree that was only reviewed, a forced removal goes on. What an
        # agent wrote for the user is not given up for that.
        return _set_aside(paths, error) if unsaved.keeps_everything(paths) else {"bundle": None}
    try:
        if containers is None:
            return {"bundle": unsaved.rescue(paths.root, paths.session, seen)}
        return {"bundle": _rescuein_job(paths, containers, seen)}
    except RunnerError as error:
        if error.code == "no_space":
            raise
        return _set_aside(paths, error)


def _set_aside(paths: JobPaths, cause: RunnerError) -> Dict[str, Any]:
    try:
        kept = unsaved.set_aside(paths.root, paths.session)
    except OSError as error:
        raise RunnerError(
            "rescue_failed",
            "%s Moving %s to safety failed too: %s." % (cause.message, paths.worktree, error.strerror),
            "Save what you need from it and remove the directory; then remove the job again.",
            EXIT_SOFTWARE,
        ) from cause
    return {"bundle": None, "kept": kept, "because": cause.message}


def _rescuein_job(paths: JobPaths, containers: Containers, seen: Mapping[str, Any]) -> Optional[str]:
    files = unsaved.uncommitted(paths, seen)
    if not files and not seen["commits"]:
        return None
    target = unsaved.rescue_path(paths.root, paths.session)
    words = ["unsaved", "bundle", "--session", paths.session]
    data = in_job(paths, containers, words, json.dumps({"files": files}).encode(), _BUNDLE_BYTES)
    if not data.startswith(b"# v"):
        raise RunnerError("rescue_failed", "Saving the work of %s failed: no bundle came." % paths.session)
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    os.replace(str(partial), str(target))
    return str(target)


def in_job(paths: JobPaths, containers: Containers, words: List[str], data: bytes, limit: int) -> bytes:
    """Run a command of the runner as the job; return what it prints, at most `limit` bytes."""
    link = SupervisorProcess([*containers.supervisor(paths.root, paths.session), "--shell"])
    argv = [PYTHON, *ISOLATED, wire.runner_path(), "--root", str(paths.root), *words]
    env = {"HOME": str(paths.home)}
    try:
        code, said = link.call(argv, str(paths.root), env, _GIT_SECONDS, limit + 1, data)
        complaint = link.complaint
    finally:
        link.close()
    if code != 0 or len(said) > limit:
        why = complaint or said[-500:].decode("utf-8", "replace").strip() or "it did not answer in time"
        raise RunnerError(
            "job_git_failed",
            "Reading the worktree of %s failed: %s" % (paths.session, why),
            exit_code=code if code == EXIT_NOT_FOUND else EXIT_SOFTWARE,
        )
    return said


def _remove_trees(paths: JobPaths, containers: Optional[Containers]) -> None:
    if containers is None:
        worktree.remove(paths.root, paths.session)
        return
    argv = containers.in_control(paths.root, ["trees", "--session", paths.session])
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        message, _, hint = done.stderr.decode("utf-8", "replace").strip().partition("\n")
        raise RunnerError("remove_failed", message, hint, EXIT_SOFTWARE)


def _refuse_to_lose(paths: JobPaths, containers: Optional[Containers], pushed: Sequence[str]) -> None:
    """Raise `RunnerError` when removing the job now would lose work or end a run."""
    insist = "Use --force: the work is bundled first."
    if paths.job_dir.is_dir() and is_held(paths.lock):
        raise RunnerError(
            "running", "%s is at work." % paths.session, "Cancel it first, or use --force.", EXIT_REFUSED
        )
    if not os.path.lexists(str(paths.worktree)):
        return
    found = unsaved.check_clean(paths.root, paths.session, survey(paths, containers, pushed))
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
    # Renamed first, so that no reader of jobs sees half of one.
    trash = Path(os.path.join(str(paths.root), "jobs", ".removing-" + paths.session))
    for _ in range(2):
        remove_tree(trash)
        if os.path.lexists(str(paths.job_dir)):
            os.rename(str(paths.job_dir), str(trash))
    if os.path.lexists(str(trash)) or os.path.lexists(str(paths.job_dir)):
        raise RunnerError(
            "remove_failed",
            "Removing %s left files there." % paths.job_dir,
            "Something may still be writing there; stop it and remove the job again.",
            EXIT_SOFTWARE,
        )
