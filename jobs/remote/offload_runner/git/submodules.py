"""Fetching submodules: with the user's own credentials only those that the base branch names.

Which repositories a commit has as submodules is written in the commit. A pull request could name a private
repository that its author cannot read and the user can, by ssh, a credential helper or a path on this
machine, and its code would then find the files in its worktree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, FrozenSet, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git.command import FETCH_SECONDS, Git, split
from jobs.remote.offload_runner.git.fetch import Remote
from jobs.remote.offload_runner.git.mirror import Emit, Mirror

_FILE = ".gitmodules"
# Without credentials: no ssh, no local path, no helper of the user's configuration.
_ANONYMOUS = ("protocol.allow=never", "protocol.https.allow=always", "protocol.http.allow=always")
_LIMIT = 4 * 1024 * 1024


def fetch_submodules(
    mirrored: Mirror, session: str, worktree: Path, sha: str, source: Remote, emit: Emit
) -> None:
    """Fetch the submodules of a worktree at `sha`. One that cannot be fetched is a note."""
    if not (worktree / _FILE).is_file():
        return
    emit("Fetching submodules")
    base = mirrored.ref(session, "base")
    git = Git(str(worktree))
    if _is_in(mirrored.git, sha, base) or _named(mirrored.git, sha) == _named(mirrored.git, base) is not None:
        _update(git, ["--recursive"], emit, _own(source), source.environment(), user_settings=True)
        return
    urls, known = _urls(mirrored.git, sha), _urls(mirrored.git, base)
    if urls is not None and known is not None and urls <= known:
        # Other commits of them: these may have submodules that the base does not have.
        _update(git, [], emit, _own(source), source.environment(), user_settings=True)
    else:
        emit("Note: submodules that the base branch does not have are fetched without your credentials.")
    _update(git, ["--recursive"], emit, _ANONYMOUS, {"GIT_SSH_COMMAND": "false"}, user_settings=False)


def _own(source: Remote) -> Tuple[str, ...]:
    # Only who works on a local path may be led to other local paths.
    return ("protocol.file.allow=%s" % ("always" if source.is_local else "never"),)


def _update(
    git: Git, words: Sequence[str], emit: Emit, config: Sequence[str], env: Mapping[str, str], *,
    user_settings: bool,
) -> None:  # fmt: skip
    try:
        done = git.run(
            "submodule", "--quiet", "update", "--init", *words, config=config, check=False, env=env,
            deadline=FETCH_SECONDS, user_settings=user_settings, doing="Fetching submodules",
        )  # fmt: skip
    except RunnerError as exc:
        emit("Note: %s" % exc.message)
        return
    if done.exit_code != 0:
        emit("Note: the submodules could not be fetched: %s" % done.reason)


def _is_in(git: Git, sha: str, base: str) -> bool:
    return git.run("merge-base", "--is-ancestor", sha, base, check=False).exit_code == 0


def _named(git: Git, commit: str) -> Optional[Dict[bytes, bytes]]:
    """Return the file that names a commit's submodules and the commits of these, by path; None: not known."""
    listed = git.run("ls-tree", "-r", "-z", commit, check=False)
    if listed.exit_code != 0:
        return None
    found = {}
    for entry in split(listed.stdout):
        about, _, path = entry.partition(b"\t")
        if about.startswith(b"160000 ") or path == _FILE.encode():
            found[path] = about
    return found


def _urls(git: Git, commit: str) -> Optional[FrozenSet[bytes]]:
    """Return the addresses of a commit's submodules, with their names; None: not known."""
    blob = "%s:%s" % (commit, _FILE)
    words = ["config", "--blob", blob, "-z", "--get-regexp", r"^submodule\..*\.url$"]
    done = git.run(*words, check=False, limit=_LIMIT, cut=True)
    if done.exit_code != 0 or done.is_cut:
        return None
    return frozenset(split(done.stdout))
