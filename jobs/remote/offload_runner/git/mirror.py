"""The bare mirror of a repository: one per repository, shared by its jobs, written under one lock.

Each job has refs of its own in it, `refs/offload/<session>/{head,base}`; nothing else keeps its commits.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, List

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import locks, paths
from jobs.remote.offload_runner.files.removal import remove_tree
from jobs.remote.offload_runner.git.artefacts import EXCLUDED
from jobs.remote.offload_runner.git.command import Git, raw, without_credentials
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE, EXIT_USAGE

Emit = Callable[[str], None]

_STALE_SECONDS = 3600.0
_CONFIG = """\
[core]
\trepositoryformatversion = %d
\tfilemode = true
\tbare = true
\tlogAllRefUpdates = true
\tautocrlf = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""
_REMOTE = """\
[remote "origin"]
\turl = "%s"
\tfetch = +refs/heads/*:refs/remotes/origin/*
"""
# What `git init` finds out of macOS's file systems.
_CASELESS = "[core]\n\tignorecase = true\n\tprecomposeunicode = true\n"
_SHA256 = """\
[extensions]
\tobjectFormat = sha256
"""
# What git would obey or run for the next job, had an earlier one left it there.
_NOT_OURS = (
    "hooks", "config.worktree", "info/attributes", "info/grafts", "info/sparse-checkout", "branches",
    "remotes", "objects/info/alternates", "objects/info/http-alternates", "refs/replace",
)  # fmt: skip


@dataclass(frozen=True)
class Mirror:
    """A mirror that is there."""

    path: Path

    @property
    def git(self) -> Git:
        """Return git in the mirror."""
        return Git(str(self.path))

    @property
    def is_usable(self) -> bool:
        """Tell whether git takes it for a repository."""
        return self.path.is_dir() and self.git.ok("rev-parse", "--is-bare-repository")

    def ref(self, session: str, name: str) -> str:
        """Return a job's private ref: `head` or `base`."""
        return "refs/offload/%s/%s" % (session, name)

    def session_refs(self, session: str) -> List[str]:
        """Return the refs that a job has here."""
        listed = self.git.out("for-each-ref", "--format=%(refname)", "refs/offload/%s/" % session)
        return listed.decode("utf-8", "surrogateescape").split()

    def session_updates(self, session: str) -> bytes:
        """Return the input of `update-ref --stdin` that makes a job's refs in another repository."""
        line = "--format=update %(refname) %(objectname)"
        return self.git.out("for-each-ref", line, "refs/offload/%s/" % session)

    def drop_refs(self, session: str) -> None:
        """Delete a job's refs. Call with the lock held."""
        names = self.session_refs(session)
        if names:
            deletions = "".join("delete %s\n" % name for name in names)
            self.git.run("update-ref", "--no-deref", "--stdin", input=deletions.encode())

    def drop_worktree(self, worktree: Path) -> None:
        """Forget a worktree. Call with the lock held, after its directory was removed."""
        for entry in self.worktree_entries(worktree):
            remove_tree(entry)

    def worktree_entries(self, worktree: Path) -> List[Path]:
        """Return git's own records of a worktree, whether or not its directory is there."""
        wanted = raw(str(worktree / ".git"))
        found = []
        for entry in sorted((self.path / "worktrees").glob("*")):
            with contextlib.suppress(OSError):
                if (entry / "gitdir").read_bytes().rstrip(b"\n") == wanted:
                    found.append(entry)
        return found

    def heal(self, session: str) -> None:
        """Remove what a killed git left: this job's ref locks, and old temporary packs and locks."""
        for lock in (self.path / "refs" / "offload" / session).glob("*.lock"):
            lock.unlink()
        aged = time.time() - _STALE_SECONDS
        leftovers = [*self.path.glob("*.lock"), *(self.path / "objects" / "pack").glob("tmp_*")]
        for file in [*leftovers, *(self.path / "objects").glob("incoming-*")]:
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < aged:
                    remove_tree(file) if file.is_dir() else file.unlink()

    def drop_partial_packs(self) -> None:
        """Give back the space of downloads that a full disk cut short."""
        for file in (self.path / "objects" / "pack").glob("tmp_*"):
            with contextlib.suppress(OSError):
                file.unlink()


def check_slug(slug: str) -> None:
    """Refuse a slug that would lead out of `repos/`, or into another mirror."""
    parts = slug.split("/")
    odd = any(part in ("", ".", "..") for part in parts) or any(part.endswith(".git") for part in parts[:-1])
    if odd or re.search(r"[\x00-\x1f]", slug):
        raise RunnerError("usage", "%r is not the name of a repository." % slug, exit_code=EXIT_USAGE)


@contextlib.contextmanager
def locked(path: Path, emit: Emit) -> Iterator[None]:
    """Hold the one lock of the mirror at `path`, saying so when another job has it."""
    lock = path.with_name(path.name + ".lock")
    name = path.name[: -len(".git")]
    with locks.held(
        str(lock),
        what="The mirror of %s" % name,
        on_wait=lambda: emit("Waiting for another job's fetch of %s" % name),
    ):
        yield


def ensure(path: Path, url: str, object_format: str) -> Mirror:
    """Return the mirror at `path`, made if it is not there. Call with the lock held."""
    if not path.exists():
        unfinished = path.with_name(".%s.new" % path.name)
        remove_tree(unfinished)
        unfinished.mkdir(parents=True)
        Git(str(unfinished)).run(
            "init", "--quiet", "--bare", "--template=", "--object-format=" + object_format
        )
        _restore(unfinished, url, object_format)
        os.rename(unfinished, path)
    else:
        _restore(path, url, object_format)
    mirror = Mirror(path)
    if not mirror.is_usable:
        raise _damaged(path, "it is no git repository any more")
    return mirror


def _damaged(path: Path, what: str) -> RunnerError:
    return RunnerError(
        "mirror_damaged",
        "%s cannot be used: %s." % (path, what),
        hint="Remove it; the next job of this repository makes a new one.",
        exit_code=EXIT_SOFTWARE,
    )


def _restore(path: Path, url: str, object_format: str) -> None:
    """Make a mirror's settings ours again: jobs write to it, and the next one must not obey the last.

    Their commits and refs stay. Only what differs is written.
    """
    is_sha256 = object_format == "sha256"
    config = _CONFIG % (1 if is_sha256 else 0) + remote_section(without_credentials(url))
    config += (_SHA256 if is_sha256 else "") + (_CASELESS if sys.platform == "darwin" else "")
    for name in ("objects", "refs"):
        if (path / name).is_symlink():
            raise _damaged(path, "its %s lead elsewhere" % name)
    for name in ("info", "objects/info"):
        # A link here would make us remove files elsewhere.
        if (path / name).is_symlink():
            (path / name).unlink()
    for name in _NOT_OURS:
        _remove(path / name)
    for name, wanted in (("config", raw(config)), ("info/exclude", EXCLUDED.encode())):
        file = path / name
        for part in (file.parent, file):
            if part.is_symlink() or (part == file and part.is_dir()):
                _remove(part)
        file.parent.mkdir(exist_ok=True)
        if not file.exists() or file.read_bytes() != wanted:
            draft = file.with_name("%s.%d.new" % (file.name, os.getpid()))
            _remove(draft)
            draft.write_bytes(wanted)
            os.replace(draft, file)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def remote_section(url: str) -> str:
    """Return what a repository's configuration says of its remote.

    `url` is one value, whatever is in it: a job's code can write what a mirror says.
    """
    return _REMOTE % url.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def all_mirrors(root: Path) -> List[Mirror]:
    """Return every mirror under the root."""
    found = []
    for directory, names, _ in os.walk(root / "repos"):
        for name in [name for name in names if name.endswith(".git")]:
            names.remove(name)
            if not name.startswith("."):
                found.append(Mirror(Path(directory) / name))
    return sorted(found, key=lambda mirror: mirror.path)


def of_job(root: Path, session: str) -> List[Mirror]:
    """Return the mirrors that know a job: the one it was prepared from, or, without a record, any trace."""
    recorded = paths.read_json(paths.job_paths(root, session).prepared) or {}
    slug = recorded.get("repository") if isinstance(recorded, dict) else None
    if isinstance(slug, str) and paths.mirror(root, slug).is_dir():
        return [Mirror(paths.mirror(root, slug))]
    job = paths.job_paths(root, session)
    return [
        mirror
        for mirror in all_mirrors(root)
        if (mirror.is_usable and mirror.session_refs(session))
        or mirror.worktree_entries(job.worktree)
        or mirror.worktree_entries(job.base_worktree)
    ]
