"""Removing a directory tree that a job's code has written: never through a link, and of any depth or mode."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import Dict, List

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.protocol import EXIT_SOFTWARE

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
_LIFTED = ".removing-"
_MOST_RETRIES = 1000
_MOUNTS = "/proc/self/mountinfo"


def remove_tree(path: Path) -> None:
    """Remove a directory and everything below it, read-only parts too; a link is removed itself.

    Absent is success. Raises `RunnerError` (`remove_failed`) that names the path which resists, and why;
    nothing is removed when a file system is mounted there.
    """
    _refuse_mounts(path, itself=True)
    try:
        if not stat.S_ISDIR(os.lstat(str(path)).st_mode):
            os.unlink(str(path))
            return
        empty_tree(path)
        os.rmdir(str(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed(str(path), error) from error


def empty_tree(path: Path) -> None:
    """Remove everything below a directory and keep the directory. Raises `RunnerError`."""
    _refuse_mounts(path, itself=False)
    top = _open_folder(str(path), None)
    # Directories are lifted to the top before they are emptied, so that no depth needs a long path or many
    # descriptors. For messages: what each was called.
    names: Dict[str, str] = {}
    retries = 0
    try:
        while True:
            waiting = os.listdir(top)
            if not waiting:
                return
            for name in waiting:
                retries += _remove_entry(top, name, names.pop(name, name), names, path)
                if retries > _MOST_RETRIES:
                    raise _failed(str(path), OSError(errno.EBUSY, "files are still being written there"))
    finally:
        os.close(top)


def _refuse_mounts(path: Path, *, itself: bool) -> None:
    """Refuse to empty another file system that is mounted below the path, or at it."""
    top = os.path.join(os.path.realpath(str(path.parent)), path.name)
    try:
        with open(_MOUNTS, "rb") as file:
            lines = os.fsdecode(file.read()).splitlines()
    except FileNotFoundError:
        return  # not Linux
    for line in lines:
        place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split(" ")[4])
        if place.startswith(top + "/") or (itself and place == top):
            raise RunnerError(
                "remove_failed",
                "Removing %s failed: a file system is mounted at %s." % (path, place),
                "Unmount it (`umount %s`) and remove the job again." % place,
                EXIT_SOFTWARE,
            )


def _remove_entry(top: int, name: str, called: str, names: Dict[str, str], path: Path) -> bool:
    """Remove one entry of the top, or a part of it; tell whether something was put in meanwhile."""
    try:
        if _is_folder(name, top):
            _lift(top, name, called, names)
            os.rmdir(name, dir_fd=top)
        else:
            os.unlink(name, dir_fd=top)
    except FileNotFoundError:
        return False  # another process removed it
    except OSError as error:
        if _is_busy(error):
            return True
        inner = error.filename if isinstance(error.filename, str) and error.filename != name else ""
        there, was = (os.path.join(str(path), part, inner).rstrip("/") for part in (name, called))
        raise _failed(there if there == was else "%s (it was %s)" % (there, was), error) from error
    return False


def _is_busy(error: OSError) -> bool:
    return error.errno in (errno.ENOTEMPTY, errno.EEXIST)


def _lift(top: int, name: str, called: str, names: Dict[str, str]) -> None:
    """Empty one directory: its files are removed, its directories moved to the top."""
    folder = _open_folder(name, top)
    try:
        inner: List[str] = os.listdir(folder)
        for child in inner:
            if not _is_folder(child, folder):
                os.unlink(child, dir_fd=folder)
                continue
            _unlock(child, folder)
            lifted = "%s%d" % (_LIFTED, len(names))
            while lifted in names or os.path.lexists("/proc/self/fd/%d/%s" % (top, lifted)):
                lifted += "x"
            os.rename(child, lifted, src_dir_fd=folder, dst_dir_fd=top)
            names[lifted] = os.path.join(called, child)
    finally:
        os.close(folder)


def _is_folder(name: str, folder: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _open_folder(name: str, parent: "int | None") -> int:
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _unlock(name, parent)
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o700 != 0o700:
        os.fchmod(descriptor, 0o700)
    return descriptor


def _unlock(name: str, parent: "int | None") -> None:
    """Make a directory ours to read and write, whatever its mode is; never what a link leads to."""
    descriptor = os.open(name, _PATH, dir_fd=parent)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.chmod("/proc/self/fd/%d" % descriptor, 0o700)
    finally:
        os.close(descriptor)


def _failed(path: str, error: OSError) -> RunnerError:
    return RunnerError(
        "remove_failed",
        "Removing %s failed: %s." % (path, error.strerror),
        "It may belong to another user, be immutable, or be in use; free it and remove the job again.",
        EXIT_SOFTWARE,
    )
