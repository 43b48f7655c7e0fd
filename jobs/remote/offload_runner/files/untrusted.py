"""Files where a job's code can write: no link is followed, nothing blocks, sizes are bounded."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import List

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO returns at once instead of waiting for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class UntrustedFile(OSError, ValueError):
    """A file was refused or cannot be read; the message says which file and why."""


def read(root: Path, relative: str, *, limit: int) -> bytes:
    """Return the content of the regular file `relative` (components joined by `/`) below `root`.

    `limit` is the largest size accepted, in bytes; a larger file is refused, not cut. Every component is
    opened relative to the directory before it and no symbolic link is followed, so a job that exchanges
    components during the read cannot lead it elsewhere. Raises `UntrustedFile`, for an absent file too.
    """
    descriptor = open_regular(root, relative)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise UntrustedFile(
                "Reading %s failed: it has %d bytes, the limit is %d." % (relative, size, limit)
            )
        # The file may grow meanwhile.
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UntrustedFile("Reading %s failed: it has more than %d bytes." % (relative, limit))
    return data


def open_regular(root: Path, relative: str) -> int:
    """Return a descriptor of the regular file `relative` below `root`, open for reading.

    Raises `UntrustedFile`.
    """
    parts = _parts(relative)
    folder = -1
    try:
        # Not through a link either: a job of a shared container can exchange another job's directory.
        folder = os.open(str(root), _FOLDER)
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Looked at before it is opened: opening a device can have an effect of its own.
        _check_regular(relative, os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
        descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
    except UntrustedFile:
        raise
    except OSError as error:
        raise UntrustedFile("Reading %s failed: %s." % (relative, error.strerror)) from error
    finally:
        if folder >= 0:
            os.close(folder)
    try:
        _check_regular(relative, os.fstat(descriptor))
    except UntrustedFile:
        os.close(descriptor)
        raise
    return descriptor


def create(root: Path, name: str, data: bytes) -> bool:
    """Make the file `name` in the directory `root`; return False when there is something of that name.

    It belongs to the owner of the directory. Raises `OSError`; nothing is left then.
    """
    if "/" in name or _parts(name) != [name]:
        raise UntrustedFile("Writing %r failed: it is not a file name." % name)
    folder = os.open(str(root), _FOLDER)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                if os.geteuid() == 0:
                    owner = os.fstat(folder)
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                os.fchmod(descriptor, 0o644)
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise
        return True
    finally:
        os.close(folder)


def _parts(relative: str) -> List[str]:
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or relative.startswith("/") or "\0" in relative:
        raise UntrustedFile("Reading %r failed: the path leads out of its directory." % relative)
    return parts


def _check_regular(relative: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UntrustedFile("Reading %s failed: it is not a regular file." % relative)
