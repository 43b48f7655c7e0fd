"""Environments of bases that are kept for the next changes: what a setup installed, copied to another tree.

Only the setup of a base makes them, before code of a change ran in that tree, and a job gets a copy: what it
writes reaches no other job. With containers, only the control container sees them. A change gets one when it
leaves alone all that says what is installed (`_INPUTS`). Its base starts from the same one then, so that a
release of a dependency meanwhile cannot make the two differ.

    base/environments/<key>/    tree/ and home/ (what the setup left there), kept.json (`Kept`, and a digest)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import locks
from jobs.remote.offload_runner.files.paths import BASE, JobPaths, making, read_json, write_json
from jobs.remote.offload_runner.files.removal import remove_tree
from jobs.remote.offload_runner.git.command import Git, raw, split, text

# The install commands of Node projects look for it: `npm ci` would throw the environment away.
MARK = ".offload-kept"
_SCHEMA = "offload-environment/1"
_SECONDS = 7 * 24 * 3600.0
_MOST = 6
_MOST_FILES = 60_000
_MOST_BYTES = 1 << 30
_MOST_TOGETHER = 4 << 30  # bytes of all of them
_COPY_SECONDS = 300.0
_NODE = "node_modules"
_DIRECTORIES = (".venv", _NODE)
_TOOLS = ("python3", "uv", "poetry", "node", "npm", "pnpm", "yarn", "bun")
# What says what is to be installed, or how.
_INPUTS = re.compile(
    r"(^|/)(pyproject\.toml|setup\.(py|cfg)|tox\.ini|noxfile\.py|Pipfile|[^/]*(requirements|constraints)[^/]*"
    r"|(requirements|constraints|deps)/[^/]+|[^/]*\.lock|[^/]*lock\.(json|ya?ml)|bun\.lockb|package\.json"
    r"|npm-shrinkwrap\.json|\.npmrc|\.yarnrc(\.yml)?|\.pnpmfile\.cjs|pnpm-workspace\.yaml|(GNU)?[Mm]akefile"
    r"|[Jj]ustfile|\.nvmrc|\.node-version|\.python-version|\.tool-versions|uv\.toml|poetry\.toml)$"
    r"|^\.offload/|\.pre-commit-config\.yaml$|(^|/)(\.yarn|patches)/"
)


@dataclass(frozen=True)
class Kept:
    """A kept environment.

    `commit` and `setup` (shell lines) made it, `at` (seconds) is when its packages were installed. It has
    `size` bytes. `tree` and
    `home` are the directories that it was made in; the files of `naming` name them. `environments` are the
    directories that another commit may use: paths below `tree`.
    """

    commit: str
    setup: List[str]
    at: float
    tree: str
    home: str
    naming: List[str] = field(default_factory=list)
    environments: List[str] = field(default_factory=list)
    size: int = 0


def give(git: Git, job: JobPaths, answer: Mapping[str, Any]) -> Dict[str, Any]:
    """Copy the base's kept environment into the head's fresh worktree, when the change may have it.

    `answer` is the one of prepare. Returns its field `environment`: the base's `key`, and whether it is
    `used`, and since when its packages are installed (`at`).
    """
    key = _key(git, str(answer["repository"]), str(answer["merge_base"]))
    at = None
    if key == _key(git, str(answer["repository"]), str(answer["sha"])):
        kept = find(job.root, key)
        if kept is not None and lay(job.root, key, kept, job.worktree):
            at = kept.at
    return {"key": key, "used": at is not None, "at": at}


def find(root: Path, key: str) -> Optional[Kept]:
    """Return a kept environment; None when there is none, or it is too old or not as it was made."""
    folder = _folder(root, key)
    with _locked(root):
        found = read_json(folder / "kept.json")
        if not isinstance(found, dict) or found.get("schema") != _SCHEMA:
            return None
        try:
            kept = Kept(**found["kept"])
        except (KeyError, TypeError):
            return None
        if time.time() - kept.at < _SECONDS and _digest(folder) == found["digest"]:
            return kept
        remove_tree(folder)
        return None


def lay(root: Path, key: str, kept: Kept, tree: Path) -> bool:
    """Copy the environment's directories into a tree in which no code runs; return False when that failed."""
    made: List[Path] = []
    try:
        with _locked(root):
            for name in kept.environments:
                if not _is_free(tree, name):
                    continue
                made.append(tree / name)
                _copy(str(_folder(root, key) / "tree" / name), tree / name)
                if name.endswith(_NODE):
                    (tree / name / MARK).touch()
        within = tuple("tree/%s/" % path.relative_to(tree) for path in made)
        _rename(kept, [path for path in kept.naming if path.startswith(within)], {"tree": tree})
    except (OSError, RunnerError, subprocess.SubprocessError):
        for path in made:
            remove_tree(path)
        return False
    return True


def replicate(job: JobPaths, key: str, kept: Kept) -> bool:
    """Copy all of it into the base's fresh tree and HOME, which are at its commit; False when that failed."""
    place = job.place(BASE)
    where = {"tree": place.tree, "home": place.home}
    try:
        with _locked(job.root):
            for name, folder in where.items():
                source = _folder(job.root, key) / name
                if source.is_dir():
                    _copy(str(source) + "/.", folder)
        _rename(kept, kept.naming, where)
    except (OSError, RunnerError, subprocess.SubprocessError):
        return False
    return True


def keep(
    job: JobPaths,
    key: str,
    commit: str,
    setup: Sequence[str],
    entries: Sequence[Tuple[bytes, os.stat_result]],
    at: Optional[float] = None,
) -> str:
    """Keep what a setup left in the base's tree and HOME (`entries`); return why not, "" when it is kept.

    Call it before code of the change runs there. `at`: when the packages were installed, if not now.
    """
    draft = making(job.root, job.session + ".environment")
    remove_tree(draft)
    try:
        place = job.place(BASE)
        draft.mkdir(parents=True, mode=0o700)
        size = sum(about.st_size for _, about in entries)
        kept = Kept(commit, list(setup), at or time.time(), str(place.tree), str(place.home), size=size)
        why = _take(kept, entries, draft)
        if why:
            return why
        data = {"schema": _SCHEMA, "kept": asdict(kept), "digest": _digest(draft)}
        write_json(draft / "kept.json", data, durable=False)
        folder = _folder(job.root, key)
        with _locked(job.root):
            remove_tree(folder)
            os.rename(str(draft), str(folder))
            _prune(folder.parent)
    except (OSError, RunnerError) as error:
        return str(error)
    finally:
        remove_tree(draft)
    return ""


def _take(kept: Kept, entries: Sequence[Tuple[bytes, os.stat_result]], draft: Path) -> str:
    """Copy entries to `draft` and note in `kept` what they are; return why they cannot be kept."""
    tops = {b"tree": os.fsencode(kept.tree) + b"/", b"home": os.fsencode(kept.home) + b"/"}
    names = [top.rstrip(b"/") for top in tops.values()]
    made: Dict[bytes, None] = {}
    environments: Dict[str, None] = {}
    if len(entries) > _MOST_FILES or kept.size > _MOST_BYTES:
        return "it is too large"
    for path, about in entries:
        part = next(part for part, top in tops.items() if path.startswith(top))
        inner = path[len(tops[part]) :]
        if inner.startswith(b".git/"):
            continue
        target = os.path.join(os.fsencode(draft), part, inner)
        folder = os.path.dirname(target)
        if folder not in made:
            made[folder] = None
            os.makedirs(folder, exist_ok=True)
        if stat.S_ISLNK(about.st_mode):
            data = os.readlink(path)
            os.symlink(data, target)
        elif stat.S_ISREG(about.st_mode):
            data = _copy_file(path, target)
        else:
            return "%s is no file" % text(inner)
        if any(name in data for name in names) and not inner.endswith(b".pyc"):
            if b"\0" in data:
                return "%s holds the path of its tree" % text(inner)
            kept.naming.append("%s/%s" % (part.decode("ascii"), text(inner)))
        if part == b"tree":
            parts = text(inner).split("/")[:-1]
            at = next((n for n, name in enumerate(parts) if name in _DIRECTORIES), None)
            if at is not None:
                environments["/".join(parts[: at + 1])] = None
    kept.environments.extend(environments)
    return ""


def _copy_file(path: bytes, target: bytes) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as source:
        about = os.fstat(source.fileno())
        data = source.read()
    with open(target, "xb") as file:
        file.write(data)
        os.fchmod(file.fileno(), stat.S_IMODE(about.st_mode) & 0o777)
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
    return data


def _rename(kept: Kept, paths: Sequence[str], where: Mapping[str, Path]) -> None:
    """Have copied files name the directories that they are in now."""
    old = {"tree": raw(kept.tree), "home": raw(kept.home)}
    for path in paths:
        part, _, inner = path.partition("/")
        target = os.path.join(os.fsencode(where[part]), raw(inner))
        if os.path.islink(target):
            link = _renamed(os.readlink(target), old, where)
            os.unlink(target)
            os.symlink(link, target)
            continue
        with open(os.open(target, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b") as file:
            data = _renamed(file.read(), old, where)
            file.seek(0)
            file.truncate()
            file.write(data)


def _renamed(data: bytes, old: Mapping[str, bytes], where: Mapping[str, Path]) -> bytes:
    for part, folder in where.items():
        data = data.replace(old[part], os.fsencode(folder))
    return data


def _is_free(tree: Path, name: str) -> bool:
    """Tell whether a path of a tree is not there, and its directory is, with no link on the way."""
    path = tree
    for part in name.split("/")[:-1]:
        path = path / part
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(str(path)).st_mode):
                continue
        return False
    return not os.path.lexists(str(tree / name))


def _copy(source: str, target: Path) -> None:
    subprocess.run(
        ["cp", "-pPR", source, str(target)],
        stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_COPY_SECONDS,
    )  # fmt: skip


def _key(git: Git, repository: str, commit: str) -> str:
    """Return a name for what an install at a commit depends on: its inputs, the programs that do it."""
    listed = [line for line in split(git.out("ls-tree", "-r", "-z", commit)) if _INPUTS.search(_path(line))]
    programs: List[Tuple[str, int, int]] = []
    for name in [shutil.which(tool) for tool in _TOOLS]:
        if name:
            about = os.stat(name)
            programs.append((os.path.realpath(name), about.st_size, about.st_mtime_ns))
    words = [repository, [text(line) for line in listed], programs, sys.version, list(os.uname())[-1]]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _path(line: bytes) -> str:
    return text(line.partition(b"\t")[2])


def _folder(root: Path, key: str) -> Path:
    return root / "base" / "environments" / key


def _locked(root: Path, seconds: float = _COPY_SECONDS) -> "contextlib.AbstractContextManager[Any]":
    folder = root / "base" / "environments"
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    return locks.held(str(folder / ".lock"), what="The kept environments", seconds=seconds)


def _digest(folder: Path) -> str:
    """Return a digest over the kept files. The time of an inode's last change cannot be set by a program."""
    found = hashlib.sha256()
    for part in ("tree", "home"):
        for at, folders, names in os.walk(os.fsencode(folder / part)):
            folders.sort()
            links = [name for name in folders if os.path.islink(os.path.join(at, name))]
            for name in sorted([*names, *links]):
                path = os.path.join(at, name)
                about = os.lstat(path)
                words = (about.st_mode, about.st_ino, about.st_size, about.st_ctime_ns)
                found.update(os.path.relpath(path, os.fsencode(folder)) + b"\0" + repr(words).encode())
    return found.hexdigest()


def prune(root: Path) -> None:
    """Remove the environments that are too old or too many, unless another process is at work with them."""
    if (root / "base" / "environments").is_dir():
        with contextlib.suppress(OSError, RunnerError), _locked(root, 0.0):
            _prune(root / "base" / "environments")


def _prune(folder: Path) -> None:
    """Remove those that are too old, and the oldest of those that are too many or too large together."""
    dated: List[Tuple[float, int, Path]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found = read_json(entry / "kept.json")
            kept: Dict[str, Any] = found["kept"] if isinstance(found, dict) else {"at": 0.0}
            dated.append((kept["at"], kept.get("size", 0), entry))
    dated.sort(reverse=True)
    together = 0
    for place, (at, size, path) in enumerate(dated):
        together += size
        if place >= _MOST or together > _MOST_TOGETHER or time.time() - at > _SECONDS:
            remove_tree(path)


__all__ = ["MARK", "Kept", "find", "give", "keep", "lay", "prune", "replicate"]
