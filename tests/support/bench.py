"""A worker's root for tests of the runner's git half, and a way to run it in a process that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.remote.offload_runner.git import worktree
from tests.support.git_repos import RepoBuilder

PROJECT = Path(__file__).resolve().parents[2]
_PREPARE = (
    "import json, sys; from pathlib import Path; from jobs.remote.offload_runner.git import worktree;"
    "worktree.prepare(Path(sys.argv[1]), json.loads(sys.argv[2]), lambda line: print(json.dumps(line)))"
)


def session_of(number: int) -> str:
    """Return the session of a review of a pull request."""
    return f"offload-shop-{number}-review"


@dataclass
class Bench:
    """A root, and the lines that the last `prepare` emitted."""

    root: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    def spec(self, url: str, number: int = 1, **changes: Any) -> dict[str, Any]:
        """Return the spec of a pull request's review, with changes."""
        return {
            "session": session_of(number),
            "repository": {"slug": "acme/shop", "url": url},
            "head": {"ref": f"refs/pull/{number}/head"},
            "base": {"ref": ""},
            "needs_base": True,
            "fresh": False,
            **changes,
        }

    def prepare(self, source: RepoBuilder | str, number: int = 1, **changes: Any) -> dict[str, Any]:
        """Prepare a job and return the answer."""
        self.lines.clear()
        url = source if isinstance(source, str) else source.url
        return worktree.prepare(self.root, self.spec(url, number, **changes), self.lines.append)

    @property
    def said(self) -> str:
        """Return the steps of the last `prepare`, one a line."""
        return "\n".join(str(line["text"]) for line in self.lines)

    def start(
        self, source: RepoBuilder, number: int = 1, *, path: str = "", **changes: Any
    ) -> subprocess.Popen[bytes]:
        """Prepare in a process of its own; `path` is put before PATH."""
        env = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else dict(os.environ)
        argv = [
            sys.executable,
            "-c",
            _PREPARE,
            str(self.root),
            json.dumps(self.spec(source.url, number, **changes)),
        ]
        return subprocess.Popen(argv, cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def worktree(self, number: int = 1) -> Path:
        """Return the worktree of a job."""
        return self.root / "worktrees" / session_of(number)

    def job_dir(self, number: int = 1) -> Path:
        """Return the directory of a job."""
        return self.root / "jobs" / session_of(number)

    @property
    def mirror(self) -> Path:
        """Return the mirror."""
        return self.root / "repos" / "acme" / "shop.git"


def git_stub(directory: Path, script: str) -> str:
    """Make a `git` that runs `script` (sh) before the real one, `$REAL`, and return its directory."""
    real = subprocess.run(
        ["sh", "-c", "command -v git"], capture_output=True, check=True, text=True
    ).stdout.strip()
    directory.mkdir(parents=True)
    stub = directory / "git"
    stub.write_text(f'#!/bin/sh\nREAL={real}\nHERE={directory}\n{script}\nexec "$REAL" "$@"\n')
    stub.chmod(0o755)
    return str(directory)
