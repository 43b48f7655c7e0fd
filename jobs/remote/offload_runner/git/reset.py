"""Bringing a tree back to what it was before tests ran in it: its commit, and what was installed and built.

`reset` runs where the job's code runs, as the job, with the mirror as git's directory, so that nothing in the
tree configures git. The time of an inode's last change cannot be set by a program: what tests left is newer
than the moment when they began, or in a directory that was not there then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import AbstractSet, Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from jobs.remote.offload_runner.files.moments import moment
from jobs.remote.offload_runner.git.command import Completed, Git, raw, split, text

# What is installed here is no evidence; looking through it would take longer than all else.
_ENVIRONMENTS = frozenset(raw(name) for name in ("node_modules", ".venv", "venv", ".tox", ".nox", "target"))
_ASIDE = "offload-aside"
_INDEX = "offload-index"
_SUBMODULE = b"160000"
_MOST_FILES = 1_000_000


@dataclass(frozen=True)
class Changed:
    """What may have changed in a tree since a mark was made: lines of `ls-tree`, and paths of other files."""

    tracked: List[bytes]
    added: List[bytes]


def mark(tree: Path, folder: Path) -> Dict[str, Any]:
    """Return what tells later changes of a tree: a moment (`newest`), and the inodes of its directories.

    `folder` is on the same file system, out of the job's reach.
    """
    newest = moment(folder)
    inodes: Dict[str, int] = {}
    for _ in _files(os.fsencode(tree), frozenset(), frozenset(), inodes):
        pass
    return {"newest": newest, "folders": inodes}


def changed(tree: Path, mirror: Path, commit: str, made: Mapping[str, Any]) -> Changed:
    """Return what may have changed since `made`, a mark. Nothing is opened but directories."""
    tracked: Dict[bytes, bytes] = {}
    kept = set()
    for line in split(Git(str(mirror)).out("ls-tree", "-r", "-z", commit)):
        about, _, path = line.partition(b"\t")
        if about.startswith(_SUBMODULE):
            kept.add(path)
        else:
            tracked[path] = line
    holding = {b""}
    for path in tracked:
        above = os.path.dirname(path)
        while above not in holding:
            holding.add(above)
            above = os.path.dirname(above)
    newest = int(made["newest"])
    inodes: Dict[str, int] = {}
    there = dict(_files(os.fsencode(tree), holding, kept, inodes))
    # A directory that was moved brings files that did not change themselves.
    known: Mapping[str, int] = made["folders"]
    same = {raw(path) for path, inode in inodes.items() if known.get(path) == inode} | {b""}
    for path in sorted(holding, key=len):
        if os.path.dirname(path) not in same:
            same.discard(path)

    def is_old(path: bytes) -> bool:
        return path in there and there[path].st_ctime_ns <= newest and os.path.dirname(path) in same

    return Changed(
        [line for path, line in tracked.items() if not is_old(path)],
        [path for path in there if path not in tracked and not is_old(path)],
    )


def reset(tree: Path, mirror: Path, commit: str, made: Mapping[str, Any], *, look: bool) -> Dict[str, Any]:
    """Put back the files of a commit that changed since the mark `made`, and move other new files aside.

    Environments stay as they are. With `look` nothing is changed. Returns `altered` (paths of the commit that
    were not as committed) and `aside` (how many files wait for `give_back`).
    """
    own = tree / ".git"
    for _ in _files(os.fsencode(tree), frozenset(), frozenset(), {}, repair=not look):
        pass
    found = changed(tree, mirror, commit, made)
    aside = 0
    if not look:
        aside = _move(tree, own / _ASIDE, found.added)
        _remove_empty(tree, found.added)
    altered: List[bytes] = []
    if found.tracked:
        git = _Git(tree, mirror, own / _INDEX)
        altered = git.altered(found.tracked)
        if not look:
            paths = [line.partition(b"\t")[2] for line in found.tracked]
            git.run("checkout-index", "--force", "-z", "--stdin", given=b"\0".join(paths) + b"\0")
    return {"altered": sorted(text(path) for path in altered), "aside": aside}


def give_back(tree: Path) -> int:
    """Bring back what `reset` moved aside, unless something else is there by now; return how many files."""
    top = tree / ".git" / _ASIDE
    count = 0
    for folder, _, names in os.walk(os.fsencode(top)):
        for name in names:
            source = os.path.join(folder, name)
            target = os.path.join(os.fsencode(tree), os.path.relpath(source, os.fsencode(top)))
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if not os.path.lexists(target):
                    os.rename(source, target)
                    count += 1
    shutil.rmtree(str(top), ignore_errors=True)
    return count


class _Git:
    """git with the mirror as its directory and an index of its own, which holds what is asked about."""

    def __init__(self, tree: Path, mirror: Path, index: Path) -> None:
        self._git = Git(str(tree))
        self._index = index
        names = (("GIT_DIR", mirror), ("GIT_WORK_TREE", tree), ("GIT_INDEX_FILE", index))
        self._env = {name: str(path) for name, path in names}

    def run(self, *words: str, given: bytes = b"", check: bool = True) -> Completed:
        return self._git.run(*words, input=given, check=check, config=("core.bare=false",), env=self._env)

    def altered(self, lines: Sequence[bytes]) -> List[bytes]:
        """Return the paths of these lines of `ls-tree` that are not in the tree as there."""
        with contextlib.suppress(FileNotFoundError):
            self._index.unlink()
        self.run("update-index", "-z", "--index-info", given=b"\0".join(lines) + b"\0")
        self.run("update-index", "-q", "--refresh", check=False)
        return split(self.run("diff-files", "-z", "--name-only").stdout)


def _files(
    tree: bytes,
    holding: AbstractSet[bytes],
    kept: AbstractSet[bytes],
    inodes: Dict[str, int],
    *,
    repair: bool = False,
) -> Iterator[Tuple[bytes, os.stat_result]]:
    """Yield what is no directory in a tree, by its path below it; note the inodes of directories.

    Environments are left out unless they are among `holding`, and the directories `kept`. `repair` makes
    directories readable.
    """
    waiting = [b""]
    count = 0
    while waiting:
        folder = waiting.pop()
        full = os.path.join(tree, folder) if folder else tree
        if repair:
            mode = os.lstat(full).st_mode
            if mode & 0o700 != 0o700:
                os.chmod(full, stat.S_IMODE(mode) | 0o700)
        with os.scandir(full) as entries:
            for entry in entries:
                count += 1
                if count > _MOST_FILES:
                    raise OSError(errno.EFBIG, "it holds more than %d files" % _MOST_FILES)
                path = os.path.join(folder, entry.name) if folder else entry.name
                if not entry.is_dir(follow_symlinks=False):
                    yield path, entry.stat(follow_symlinks=False)
                    continue
                inodes[text(path)] = entry.inode()
                if path in kept or path == b".git":
                    continue
                if path in holding or entry.name not in _ENVIRONMENTS:
                    waiting.append(path)


def _move(tree: Path, aside: Path, paths: Sequence[bytes]) -> int:
    for path in paths:
        target = os.path.join(os.fsencode(aside), path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(os.path.join(os.fsencode(tree), path), target)
    return len(paths)


def _remove_empty(tree: Path, moved: Sequence[bytes]) -> None:
    folders = {os.path.dirname(path) for path in moved} - {b""}
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.removedirs(os.path.join(os.fsencode(tree), folder))
