"""Published source packages as real repositories: one release as the base, the next as pull request #1."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.git_repos import Content, RepoBuilder

CACHE = Path(__file__).parents[1] / ".cache" / "packages"
_DEADLINE = 180


@dataclass(frozen=True)
class Release:
    """One version of a package on PyPI (`registry` "pypi") or npm ("npm"), whose archive holds its tests."""

    registry: str
    name: str
    version: str

    @property
    def archive(self) -> Path:
        """Return the archive, fetched by the registry's own client unless it was before."""
        kept = CACHE / f"{self.registry}-{self.name}-{self.version}.tar.gz"
        if kept.exists():
            return kept
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            done = subprocess.run(
                self._fetch(folder),
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_DEADLINE,
                check=False,
            )
            fetched = [*Path(folder).glob("*.tar.gz"), *Path(folder).glob("*.tgz")]
            if done.returncode or len(fetched) != 1:
                raise AssertionError(
                    f"Fetching {self.name} {self.version} failed: {done.stderr or done.stdout}"
                )
            os.replace(fetched[0], kept)
        return kept

    def _fetch(self, folder: str) -> list[str]:
        if self.registry == "npm":
            return ["npm", "pack", "--silent", f"{self.name}@{self.version}"]
        return [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--no-binary", ":all:", "--dest", folder, f"{self.name}=={self.version}",
        ]  # fmt: skip

    def unpack(self, target: Path) -> None:
        """Lay the release's files into `target`, replacing every file there but git's own."""
        for entry in target.iterdir():
            if entry.name != ".git":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        with tempfile.TemporaryDirectory() as folder, tarfile.open(self.archive) as archive:
            # Python 3.11.2, which Debian 12 has, knows no filter; the archives are pinned by version.
            safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(folder, **safe)
            (top,) = Path(folder).iterdir()
            for entry in top.iterdir():
                # Written by the packaging, and not in the project's own repository.
                if entry.name != "PKG-INFO" and not entry.name.endswith(".egg-info"):
                    shutil.move(entry, target / entry.name)


# What the tests of the corpus's Node projects run with, installed once for all.
_NODE_TOOLS = ("tape@5.6.6", "mocha@10.8.2", "nyc@15.1.0", "faucet@0.0.4", "is-buffer@2.0.4")


def node_tools() -> Path:
    """Return a `node_modules` with the test runners and libraries of the corpus."""
    folder = CACHE / "node"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--silent", *_NODE_TOOLS],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"Installing {', '.join(_NODE_TOOLS)} failed: {done.stderr or done.stdout}")
        (folder / "complete").touch()
    return folder / "node_modules"


def repository(path: Path, base: Release, head: Release) -> RepoBuilder:
    """Return a repository with `base` on main and `head` as pull request #1."""
    repo = RepoBuilder(path)
    base.unpack(path)
    repo.commit(message=f"{base.name} {base.version}")
    repo.branch("work")
    head.unpack(path)
    repo.commit(message=f"{head.name} {head.version}")
    repo.checkout("main")
    return repo.pull(1, start="work", message="Release")


def broken(repo: RepoBuilder, number: int, files: Mapping[str | bytes, Content]) -> RepoBuilder:
    """Make a further pull request: the new release with some files changed again."""
    return repo.pull(number, files, start="work", message="Break it")


__all__ = ["CACHE", "Release", "broken", "node_tools", "repository"]
