"""The files of npm packages that pages may load, served from node_modules as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage

# Name under /static/vendor/ -> file under node_modules. Nothing else of node_modules is served.
PACKAGE_FILES: Mapping[str, str] = {
    "vendor/htmx.js": "htmx.org/dist/htmx.min.js",
    "vendor/xterm/xterm.mjs": "@xterm/xterm/lib/xterm.mjs",
    "vendor/xterm/xterm.css": "@xterm/xterm/css/xterm.css",
    "vendor/xterm/addon-clipboard.mjs": "@xterm/addon-clipboard/lib/addon-clipboard.mjs",
    "vendor/xterm/addon-fit.mjs": "@xterm/addon-fit/lib/addon-fit.mjs",
    "vendor/xterm/addon-image.mjs": "@xterm/addon-image/lib/addon-image.mjs",
    "vendor/xterm/addon-search.mjs": "@xterm/addon-search/lib/addon-search.mjs",
    "vendor/xterm/addon-serialize.mjs": "@xterm/addon-serialize/lib/addon-serialize.mjs",
    "vendor/xterm/addon-unicode-graphemes.mjs": (
        "@xterm/addon-unicode-graphemes/lib/addon-unicode-graphemes.mjs"
    ),
    "vendor/xterm/addon-web-links.mjs": "@xterm/addon-web-links/lib/addon-web-links.mjs",
    "vendor/xterm/addon-webgl.mjs": "@xterm/addon-webgl/lib/addon-webgl.mjs",
    "vendor/asciinema-player.js": "asciinema-player/dist/bundle/asciinema-player.min.js",
    "vendor/asciinema-player.css": "asciinema-player/dist/bundle/asciinema-player.css",
}


def node_modules() -> Path:
    """Return where npm puts the packages."""
    return Path(settings.BASE_DIR) / "node_modules"


def missing_files() -> list[str]:
    """Return the files of the list that are not there (npm has not run, or a package changed)."""
    return [source for source in PACKAGE_FILES.values() if not (node_modules() / source).is_file()]


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
