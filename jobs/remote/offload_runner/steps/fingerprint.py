"""Whether what the base's setup made is still as it was, after code of the change ran in the same tree.

The times at which inodes changed are the kernel's: no program without privileges can set them. So a digest
over what had not changed since the setup tells whether anything of it was changed, moved or removed, and
whatever changed later is new. Files that git tracks are not looked at: they are laid out again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import BASE
from jobs.remote.offload_runner.files.removal import empty_tree
from jobs.remote.offload_runner.git import worktree
from jobs.remote.offload_runner.git.command import raw, split
from jobs.remote.offload_runner.steps.record import Job

_TICK_SECONDS = 0.001

Entry = Tuple[bytes, os.stat_result]


def take(job: Job) -> Dict[str, Any]:
    """Return the fingerprint of what the setup left: `digest`, and `newest` (nanoseconds).

    Nothing that is changed after this returns has a time of `newest` or before.
    """
    found = list(entries(job))
    newest = max((about.st_ctime_ns for _, about in found), default=0)
    with tempfile.TemporaryFile(dir=str(job.paths.job_dir)) as file:
        # The clock of a file system advances in steps of some milliseconds.
        while os.fstat(file.fileno()).st_ctime_ns <= newest:
            time.sleep(_TICK_SECONDS)
            os.fchmod(file.fileno(), 0o600)
    return {"digest": _digest(found), "newest": newest}


def restore(job: Job, made: Mapping[str, Any]) -> bool:
    """Remove what is newer than the fingerprint `made`; return whether all else is as it was.

    The index by which git brings back what it tracks is made again, and TMPDIR is emptied.
    """
    newest = int(made["newest"])
    old: List[Entry] = []
    place = job.paths.place(BASE)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.home / worktree.INDEX)
        empty_tree(place.tmp)
        for path, about in entries(job):
            if about.st_ctime_ns <= newest:
                old.append((path, about))
            else:
                os.unlink(path)
        for folder in _folders(job):
            if os.lstat(folder).st_ctime_ns > newest:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)  # only an empty one goes
    except (OSError, RunnerError):
        return False  # a directory that cannot be read, say
    return _digest(old) == str(made["digest"])


def _digest(entries: List[Entry]) -> str:
    found = hashlib.sha256()
    for path, about in sorted(entries, key=lambda entry: entry[0]):
        words = (about.st_mode, about.st_ino, about.st_size, about.st_ctime_ns)
        found.update(path + b"\0" + repr(words).encode() + b"\n")
    return found.hexdigest()


def entries(job: Job) -> Iterator[Entry]:
    """Yield what is no directory in the base's HOME and tree, but for what git tracks or we write."""
    place = job.paths.place(BASE)
    home, tree = os.fsencode(place.home), os.fsencode(place.tree)
    tracked = {b"/".join([tree, name]) for name in split(_listed(job))}
    ours = {os.path.join(home, raw(worktree.INDEX)), os.path.join(tree, b".git/index")}
    for top in (home, tree):
        for folder, folders, names in os.walk(top, onerror=_raise):
            if folder == home:
                folders[:] = [name for name in folders if name != raw(place.tmp.name)]
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in [*names, *links]:
                path = os.path.join(folder, name)
                if path not in tracked and path not in ours:
                    about = os.lstat(path)
                    if not stat.S_ISDIR(about.st_mode):
                        yield path, about


def _folders(job: Job) -> Iterator[bytes]:
    """Yield the directories of the base's HOME and tree, the inner ones first."""
    place = job.paths.place(BASE)
    kept = {os.fsencode(path) for path in (place.home, place.tmp, place.tree)}
    for top in (place.home, place.tree):
        for folder, _, _ in os.walk(os.fsencode(top), topdown=False):
            if folder not in kept and b"/.git" not in folder:
                yield folder


def _listed(job: Job) -> bytes:
    return job.git.out("ls-tree", "-r", "-z", "--name-only", job.merge_base)


def _raise(error: OSError) -> None:
    raise error
