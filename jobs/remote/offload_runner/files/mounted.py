"""Directories that an engine mounted: whether they are those that the runner named.

An engine follows links in the source of a mount, on the host. A job's code that can write to the directory
above could put a link to any place of the host there, between each look of ours and the engine's.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Sequence

# Of what is no directory; nothing that was mounted is equal to it.
_NONE = [-1, -1]
# Docker and Podman on other systems mount into a virtual machine, where files have other numbers.
_NUMBERS_ARE_THE_HOSTS = sys.platform.startswith("linux")


def identities(folders: Iterable[Path]) -> Dict[str, List[int]]:
    """Return device and inode of each directory by its path; no link is followed.

    Zeros: the numbers in a container are others than here.
    """
    return {str(folder): _identity(str(folder)) for folder in folders}


def exchanged(expected: Mapping[str, Sequence[int]]) -> List[str]:
    """Return the paths that are not the directories of `identities`."""
    return sorted(
        path
        for path, numbers in expected.items()
        if list(numbers) == _NONE or (any(numbers) and _numbers(path) != list(numbers))
    )


def _identity(path: str) -> List[int]:
    found = _numbers(path)
    return found if found == _NONE or _NUMBERS_ARE_THE_HOSTS else [0, 0]


def _numbers(path: str) -> List[int]:
    try:
        found = os.lstat(path)
    except OSError:
        return _NONE
    return [found.st_dev, found.st_ino] if stat.S_ISDIR(found.st_mode) else _NONE
