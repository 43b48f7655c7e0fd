"""The sample repository of the tour: a small shop, and pull request #123.

The pull request fixes the rounding of discounts, with tests that prove it, and on the way takes free
shipping away from discounted orders. Its review finds both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

NUMBER = 123
SAMPLE = Path(__file__).with_name("sample")
_WHEN = "2026-01-05T09:00:00+00:00"


def build(path: Path) -> Path:
    """Make the repository at `path`, unless it is there already, and return its path."""
    if (path / ".git").exists():
        return path
    draft = path.with_name(f"{path.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    _git(draft, "init", "--quiet", "--initial-branch=main")
    _commit(draft, "start", "Add carts, discounts and shipping", "Mira Lindqvist")
    _git(draft, "checkout", "--quiet", "-b", "round-discounts")
    _commit(draft, "pull", "Round discounted prices to the nearest cent", "Tomasz Wilk")
    _git(draft, "update-ref", f"refs/pull/{NUMBER}/head", "HEAD")
    _git(draft, "checkout", "--quiet", "main")
    _git(draft, "branch", "--quiet", "-D", "round-discounts")
    _commit(draft, "main", "Say what the free shipping limit looks at", "Mira Lindqvist")
    draft.rename(path)
    return path


def _commit(repository: Path, layer: str, subject: str, author: str) -> None:
    shutil.copytree(
        SAMPLE / layer, repository, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    email = author.lower().replace(" ", ".") + "@example.org"
    _git(repository, "add", "--all")
    _git(
        repository, "-c", f"user.name={author}", "-c", f"user.email={email}", "-c", "commit.gpgsign=false",
        "commit", "--quiet", "--message", subject,
    )  # fmt: skip


def _git(repository: Path, *argv: str) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_AUTHOR_DATE": _WHEN,
        "GIT_COMMITTER_DATE": _WHEN,
    }
    subprocess.run(["git", "-C", str(repository), *argv], check=True, env=environment)
