"""Keep the runner's modules compiled, in a directory next to its file.

A zipapp has no `__pycache__`: Python compiles each module again at every start, which is most of what a start
costs. `bin` has the protection of the runner itself: the containers of jobs mount it read-only.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import zipimport
from types import CodeType
from typing import Optional


class Importer(zipimport.zipimporter):
    """Imports from a zip file and keeps what was compiled; before Python 3.10 it only imports."""

    def get_code(self, fullname: str) -> CodeType:
        """Return a module's code: what an earlier start kept, else compiled now and kept."""
        path = os.path.join(directory(self.archive), fullname)
        code = _read(path)
        if code is None:
            code = super().get_code(fullname)
            _write(path, code)
        return code


def directory(archive: str) -> str:
    """Return where compiled modules are: by the digest in the runner's name, and by the form of code."""
    return "%s.%s" % (os.path.splitext(archive)[0], importlib.util.MAGIC_NUMBER[:2].hex())


def install() -> None:
    """Import the runner's other modules by `Importer`."""
    sys.path_hooks.insert(0, Importer)
    sys.path_importer_cache.clear()  # this module came by the importer of the package's other modules


def _read(path: str) -> Optional[CodeType]:
    try:
        with open(path, "rb") as file:
            code = marshal.loads(file.read())  # noqa: S302 - as protected as the runner's own file
    except (OSError, EOFError, ValueError, TypeError):
        return None  # not there, or cut short by a power failure
    return code if isinstance(code, CodeType) else None


def _write(path: str, code: CodeType) -> None:
    folder = os.path.dirname(path)
    draft = "%s.%d" % (path, os.getpid())
    try:
        # Another user (root, as the watchdog; user 0 of a container) leaves no files behind.
        if os.stat(os.path.dirname(folder)).st_uid != os.geteuid():
            return
        os.makedirs(folder, exist_ok=True)
        with open(draft, "wb") as file:
            file.write(marshal.dumps(code))
        os.replace(draft, path)
    except OSError:
        return  # read-only or full: the next start compiles again
