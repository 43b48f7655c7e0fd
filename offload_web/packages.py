"""The files of npm packages that pages may load.

A source tree serves them from node_modules as they are. A wheel has them in `offload_web/static/vendor`,
where Django finds them without this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage

from offload_web.package_files import PACKAGE_FILES


def node_modules() -> Path:
    """Return where npm puts the packages."""
    return Path(settings.BASE_DIR) / "node_modules"


def missing_files() -> list[str]:
    """Return the listed files that are neither in node_modules nor in the installed package."""
    installed = Path(__file__).parent / "static"
    return [
        source
        for name, source in PACKAGE_FILES.items()
        if not (node_modules() / source).is_file() and not (installed / name).is_file()
    ]


class _PackageStorage(FileSystemStorage):
    """Gives the listed files their public names."""

    def path(self, name: str) -> str:
        return str(node_modules() / PACKAGE_FILES[name])


class PackageFinder(BaseFinder):
    """Finds the listed files of npm packages for Django's staticfiles."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.storage = _PackageStorage(location=node_modules())

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        """Return the file behind a public name."""
        source = PACKAGE_FILES.get(path)
        found = node_modules() / source if source else None
        if found is None or not found.is_file():
            return []  # Django's own finders say nothing this way
        return [str(found)] if find_all else str(found)

    def list(self, ignore_patterns: Any) -> Iterator[tuple[str, FileSystemStorage]]:
        """Yield every listed file that is there."""
        for name, source in PACKAGE_FILES.items():
            if (node_modules() / source).is_file():
                yield name, self.storage
