"""Work in a worktree that exists nowhere else: finding it, and bundling it before it is removed."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.git.artefacts import written_by_hand
from jobs.remote.offload_runner.git.command import Git, is_no_space, out_of_space, raw, shown, split, text
from jobs.remote.offload_runner.git.fetch import is_sha
from jobs.remote.offload_runner.git.job_repository import in_job
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE

_SHOWN_COMMITS = 50
IGNORED = "!!"  # git's status letters of a file that it ignores
# The work of these actions is the worktree itself: what their tasks leave is as good as the user's own.
_KEEPING_ACTIONS = ("fix", "implement", "open")
IDENTITY = {
    "GIT_AUTHOR_NAME": "Offload",
    "GIT_AUTHOR_EMAIL": "offload@localhost",
    "GIT_COMMITTER_NAME": "Offload",
    "GIT_COMMITTER_EMAIL": "offload@localhost",
}


def survey(root: Path, session: str, pushed: Sequence[str] = ()) -> Dict[str, Any]:
    """Return what a worktree holds that its repository does not: `commits` (lines) and `status`.

    `status` is path -> [git's two status letters, bytes, mtime in ns]; of ignored files it has those that no
    tool made. git obeys the job's repository here: call it where the job's code runs, and take the answer
    as data. `pushed`: commits that the forge has.
    """
    job = paths.job_paths(root, session)
    if _marker(job).exists() or not os.path.lexists(str(job.worktree / ".git")):
        return {"commits": [], "status": {}}
    _refuse_what_blocks(job.worktree)
    git = in_job(job.worktree)
    return {"commits": _unpushed(git, pushed), "status": _status(git, job.worktree)}


def _refuse_what_blocks(tree: Path) -> None:
    """Raise `RunnerError` for a pipe or a device that git would open, and wait for, in a worktree."""
    own = str(tree / ".git")
    for folder, _, names in os.walk(str(tree)):
        is_git = folder == own or folder.startswith(own + os.sep)
        for name in names:
            if not is_git and not name.startswith(".git"):
                continue
            try:
                mode = os.stat(os.path.join(folder, name)).st_mode  # git follows links
            except OSError:
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise RunnerError(
                    "unsaved_unknown",
                    "What is unsaved in %s is unknown: %s is no file, and git would wait for it."
                    % (tree, shown(os.path.relpath(os.path.join(folder, name), str(tree)))),
                    "Use --force to remove it all the same.",
                )


def checked(data: Any) -> Dict[str, Any]:
    """Return a survey that came from the job's side, with everything dropped that is not as expected."""
    found: Dict[str, Any] = {"commits": [], "status": {}}
    if isinstance(data, dict):
        commits, status = data.get("commits"), data.get("status")
        if isinstance(commits, list):
            found["commits"] = [shown(str(line))[:200] for line in commits[:_SHOWN_COMMITS]]
        if isinstance(status, dict):
            found["status"] = {str(path): state for path, state in status.items() if isinstance(state, list)}
    return found


def snapshot(root: Path, session: str, seen: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
    """Keep what differs from the commit now in `artefacts.json`, and return it.

    Taken at the end of a run, it tells what the plan's own tasks left from what the user does later. Empty
    for actions whose tasks write for the user (fix, implement, open). `seen`: a survey, if there is one.
    """
    job = paths.job_paths(root, session)
    left: Dict[str, Any] = {}
    if not keeps_everything(job):
        left = dict((survey(root, session) if seen is None else seen)["status"])
    if job.job_dir.is_dir():
        paths.write_json(_artefacts(job), left)
    return left


def keeps_everything(job: JobPaths) -> bool:
    """Tell whether what the tasks of a job left in the worktree counts as the user's work."""
    plan = paths.read_json(job.plan) or {}
    return (plan.get("job") or {}).get("action", "") in _KEEPING_ACTIONS


def has_lost_git(job: JobPaths) -> bool:
    """Tell whether git cannot say what is the user's in a worktree that has no repository any more."""
    there = os.path.lexists(str(job.worktree)) and not os.path.lexists(str(job.worktree / ".git"))
    return there and not _marker(job).exists() and keeps_everything(job)


def check_clean(root: Path, session: str, seen: Optional[Mapping[str, Any]] = None) -> Dict[str, List[str]]:
    """Return what removing the job would lose: `unpushed` commits and `uncommitted` files, for display.

    Ignored files that no tool made are among the uncommitted ones, at the end and marked. `seen`: a survey,
    if there is one.
    """
    seen = survey(root, session) if seen is None else seen
    files = uncommitted(paths.job_paths(root, session), seen)
    ignored = [path for path in files if list(seen["status"][path])[:1] == [IGNORED]]
    known = [path for path in files if path not in set(ignored)]
    lines = [shown(path) for path in known] + [shown(path) + " (ignored by git)" for path in ignored]
    return {"unpushed": list(seen["commits"]), "uncommitted": lines}


def uncommitted(job: JobPaths, seen: Mapping[str, Any]) -> List[str]:
    """Return the files of a survey that are the user's."""
    left = paths.read_json(_artefacts(job))
    left = left if isinstance(left, dict) else {}
    return [path for path, state in sorted(seen["status"].items()) if left.get(path) != state]


def rescue(root: Path, session: str, seen: Optional[Mapping[str, Any]] = None) -> "str | None":
    """Bundle all that `check_clean` finds into `state/rescue/`, verify it, and return its path.

    The bundle holds `wip` (a commit of the uncommitted files), `head`, and the branches made in the
    worktree, down to the base's history. None when there is nothing to rescue. When anything of it fails,
    `RunnerError` is raised, and nothing may be removed. `seen`: a survey, if there is one.
    """
    job = paths.job_paths(root, session)
    seen = survey(root, session) if seen is None else seen
    files = uncommitted(job, seen)
    if not files and not seen["commits"]:
        return None
    target = rescue_path(root, session)
    bundle(root, session, files, target)
    return str(target)


def rescue_path(root: Path, session: str) -> Path:
    """Return a name in `state/rescue/` that is not taken."""
    directory = paths.rescue_dir(root)
    directory.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = directory / ("%s-%s.bundle" % (session, stamp))
    number = 1
    while target.exists():
        number += 1
        target = directory / ("%s-%s-%d.bundle" % (session, stamp, number))
    return target


def set_aside(root: Path, session: str) -> str:
    """Move a worktree that git cannot read to `state/rescue/`; return its path there."""
    target = rescue_path(root, session).with_suffix("")
    os.rename(str(paths.job_paths(root, session).worktree), str(target))
    return str(target)


def bundle(root: Path, session: str, files: List[str], target: Path) -> None:
    """Write a bundle of a worktree's commits and of these uncommitted files, and verify it."""
    job = paths.job_paths(root, session)
    git = in_job(job.worktree)
    names = {"head": git.commit("HEAD")}
    for branch in session_branches(git):
        names["branch/" + branch] = git.commit("refs/heads/" + branch)
    try:
        if files:
            names["wip"] = _commit_of(git, files, session)
        _bundle(git, session, names, target)
    except OSError as exc:
        if is_no_space(exc):
            raise out_of_space("Saving the work of %s" % session) from exc
        raise RunnerError("rescue_failed", "Saving the work of %s failed: %s." % (session, exc)) from exc


def session_branches(git: Git) -> List[str]:
    """Return the local branches of a job's repository: all were made in its worktree."""
    existing = git.out("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/")
    return sorted(set(text(existing).split("\n")) - {""})


def _marker(job: JobPaths) -> Path:
    return job.worktree.with_name(job.worktree.name + ".making")


def _unpushed(git: Git, pushed: Sequence[str]) -> List[str]:
    tips = ["refs/heads/" + branch for branch in session_branches(git)]
    if git.commit("HEAD"):  # on an unborn branch there is none
        tips.append("HEAD")
    if not tips:
        return []
    done = git.run(
        "rev-list", "--pretty=tformat:%h %s", "--max-count=%d" % _SHOWN_COMMITS, *tips,
        "--not", "--glob=refs/offload/*", "--remotes",
        *(sha for sha in pushed if is_sha(sha) and git.commit(sha)), "--",
    )  # fmt: skip
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [line for line in lines if not re.fullmatch(r"commit [0-9a-f]{40,64}", line)]


def _artefacts(job: JobPaths) -> Path:
    return job.job_dir / "artefacts.json"


def _status(git: Git, worktree: Path) -> Dict[str, List[Any]]:
    found: Dict[str, List[Any]] = {}
    output = git.out(
        "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignored=matching",
        "--ignore-submodules=none",
    )  # fmt: skip
    for line in split(output):
        letters, name = text(line[:2]), text(line[3:])
        for path in written_by_hand(str(worktree), name) if letters == IGNORED else (name,):
            try:
                there = os.lstat(os.path.join(raw(str(worktree)), raw(path)))
                found[path] = [letters, there.st_size, there.st_mtime_ns]
            except OSError:
                found[path] = [letters, -1, 0]
    return found


def _commit_of(git: Git, files: List[str], session: str) -> str:
    # In an index of its own: the user's index stays as it is until the worktree goes.
    with tempfile.TemporaryDirectory(prefix="offload-rescue-") as scratch:
        env = {**IDENTITY, "GIT_INDEX_FILE": os.path.join(scratch, "index")}
        head = git.commit("HEAD")
        if head:
            git.run("read-tree", head, env=env)
        git.run(
            "add", "--all", "--force", "--sparse", "--pathspec-from-file=-", "--pathspec-file-nul",
            input=b"\0".join(raw(path) for path in files),
            env=env,
            doing="Saving the uncommitted files of %s" % session,
        )  # fmt: skip
        tree = git.run("write-tree", env=env).stdout.decode("ascii").strip()
        message = "Uncommitted files of %s" % session
        parent = ["-p", head] if head else []
        made = git.run("commit-tree", tree, *parent, "-m", message, env=env)
        return made.stdout.decode("ascii").strip()


def _bundle(git: Git, session: str, names: Dict[str, str], target: Path) -> None:
    partial = target.with_suffix(".partial")
    prefix = "refs/offload/%s/rescue/" % session
    refs = {prefix + name: commit for name, commit in names.items() if commit}
    try:
        changes = "".join("update %s %s\n" % item for item in refs.items())
        git.run("update-ref", "--stdin", input=raw(changes))
        # The base's history can be fetched again; the change's own commits may be force-pushed away.
        base = "refs/offload/%s/base" % session
        known = [base] if git.commit(base) else []
        wanted = [ref for ref in refs if git.out("rev-list", "--max-count=1", ref, "--not", *known, "--")]
        git.run("bundle", "create", "--quiet", str(partial), *wanted, *(["--not", *known] if known else []))
        git.run("bundle", "verify", "--quiet", str(partial))
        os.replace(partial, target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
        git.run("update-ref", "--stdin", input=raw("".join("delete %s\n" % ref for ref in refs)), check=False)
    if not target.exists():
        raise RunnerError("rescue_failed", "The bundle %s was not written." % target, exit_code=EXIT_SOFTWARE)
