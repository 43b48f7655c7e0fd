"""Laying a commit out as a worktree: made where no job reaches, then moved into place, whole or not at all.

A worktree that is being made or removed has a marker next to it, `<name>.making`. A marker without a process
at work means half a worktree, which is made again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.files.removal import empty_tree, remove_tree
from jobs.remote.offload_runner.git.command import Git, raw, text
from jobs.remote.offload_runner.git.fetch import Remote
from jobs.remote.offload_runner.git.mirror import Emit, Mirror, remote_section
from jobs.remote.offload_runner.git.submodules import fetch_submodules
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE


def marker(worktree: Path) -> Path:
    """Return the file that says: this worktree is being made or removed."""
    return worktree.with_name(worktree.name + ".making")


def whole(worktree: Path) -> bool:
    """Tell whether a worktree is there and whole. Raises `RunnerError` for one of an earlier version."""
    if marker(worktree).exists():
        return False
    try:
        found = os.lstat(str(worktree / ".git"))
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISREG(found.st_mode):
        raise RunnerError(
            "worktree_old",
            "%s was made by an earlier version of Offload, which laid worktrees out differently." % worktree,
            hint="Remove the job (`rm --force` saves its work first) and start it again.",
            exit_code=EXIT_SOFTWARE,
        )
    return stat.S_ISDIR(found.st_mode)


def begin(worktree: Path) -> None:
    """Mark a worktree as one that is being made."""
    worktree.parent.mkdir(parents=True, exist_ok=True)
    marker(worktree).touch()


def lay_out(mirrored: Mirror, job: JobPaths, worktree: Path, sha: str, source: Remote, emit: Emit) -> None:
    """Check a commit out where no job reaches, then move it into place, `.git` last."""
    suffix = ".base" if worktree == job.base_worktree else ""
    draft = paths.making(job.root, worktree.name + suffix)
    remove_tree(draft)
    draft.mkdir(parents=True, mode=0o700)
    try:
        emit("Checking out %s" % sha[:10])
        make_repository(mirrored, draft, sha, job.session)
        Git(str(draft)).run("reset", "--hard", "--quiet", sha, doing="Checking out %s" % sha[:10])
        fetch_submodules(mirrored, job.session, draft, sha, source, emit)
        _move_in(draft, worktree)
    finally:
        remove_tree(draft)


def make_repository(mirrored: Mirror, draft: Path, sha: str, session: str) -> None:
    """Make the job's own repository, which borrows the objects of the mirror."""
    git = Git(str(draft))
    wide = "sha256" if len(sha) == 64 else "sha1"
    git.run("init", "--quiet", "--template=", "--object-format=" + wide)
    own = draft / ".git"
    (own / "objects" / "info").mkdir(exist_ok=True)
    (own / "objects" / "info" / "alternates").write_text("%s/objects\n" % mirrored.path)
    (own / "info").mkdir(exist_ok=True)
    (own / "info" / "exclude").write_bytes((mirrored.path / "info" / "exclude").read_bytes())
    if (mirrored.path / "shallow").exists():
        (own / "shallow").write_bytes((mirrored.path / "shallow").read_bytes())
    url = mirrored.git.run("config", "--get", "remote.origin.url", check=False).stdout
    if url.strip():
        with open(str(own / "config"), "ab") as config:
            config.write(raw(remote_section(text(url.rstrip(b"\n")))))
    git.run("update-ref", "--no-deref", "--stdin", input=mirrored.session_updates(session))
    (own / "HEAD").write_text(sha + "\n")


def _move_in(draft: Path, worktree: Path) -> None:
    """Move everything in `draft` into `worktree`, made if need be, never through a link."""
    worktree.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    source = os.open(str(draft), flags)
    try:
        target = os.open(str(worktree), flags)
        try:
            for name in sorted(os.listdir(source), key=lambda name: name == ".git"):
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def discard(mirrored: Mirror, worktree: Path) -> None:
    """Take away what stands where a worktree is to be made; refuse when it may be a user's work."""
    if worktree.exists() and not marker(worktree).exists() and os.listdir(worktree):
        raise damaged(worktree)
    if worktree.is_dir() and not worktree.is_symlink():
        # The directory stays: it may be mounted into the job's container.
        empty_tree(worktree)
    else:
        remove_tree(worktree)
    mirrored.drop_worktree(worktree)
    with contextlib.suppress(FileNotFoundError):
        marker(worktree).unlink()


def damaged(worktree: Path) -> RunnerError:
    """Return the error for something that stands where a worktree is to be made."""
    return RunnerError(
        "worktree_damaged",
        "%s is there, and is not a worktree that a job can use." % worktree,
        hint="Save what you need from it, then remove it.",
        exit_code=EXIT_SOFTWARE,
    )
