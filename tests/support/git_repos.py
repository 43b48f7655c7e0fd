"""Real git repositories for tests, with pull requests at `refs/pull/N/head` as a forge has them.

shop = RepoBuilder(tmp_path / "shop").commit({"cart.py": "..."})
shop.pull(123, {"cart.py": "...", "tests/test_cart.py": "..."})
shop.url, shop.sha("refs/pull/123/head")
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Content = str | bytes | None  # None deletes the file
Files = Mapping[Any, Content]  # names are str or bytes

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada Author",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada Author",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


# Leaves the proof per hunk out: it runs the tests again and again, and `test_evidence` has it.
NO_HUNKS = {".offload/config.toml": "hunks = false\n"}


def git(cwd: Path | str, *args: str, data: bytes | None = None) -> str:
    """Run git for a test and return what it prints; a failure shows git's own words."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *args], cwd=cwd, input=data, capture_output=True, env={**env, **_ENVIRONMENT}, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"git {' '.join(args)} in {cwd}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode("utf-8", "surrogateescape").strip()


class RepoBuilder:
    """A repository to work in. Every method that changes it returns the builder."""

    def __init__(self, path: Path, *, branch: str = "main") -> None:
        self.path = path
        path.mkdir(parents=True)
        git(path, "init", "--quiet", f"--initial-branch={branch}")

    @property
    def url(self) -> str:
        """Return the address to clone from: the path."""
        return str(self.path)

    def sha(self, ref: str = "HEAD") -> str:
        """Return the commit that a ref stands for."""
        return git(self.path, "rev-parse", f"{ref}^{{commit}}")

    def write(self, files: Files) -> RepoBuilder:
        """Write (or, with None, delete) files in the worktree without committing. Names may be bytes."""
        for name, content in files.items():
            target = os.path.join(os.fsencode(self.path), os.fsencode(name))
            if content is None:
                os.unlink(target)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        return self

    def commit(self, files: Files | None = None, message: str = "Change") -> RepoBuilder:
        """Write files and commit everything; with no files, an empty commit."""
        self.write(files or {})
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", message)
        return self

    def branch(self, name: str, start: str = "HEAD") -> RepoBuilder:
        """Make a branch and check it out."""
        git(self.path, "checkout", "--quiet", "-b", name, start)
        return self

    def checkout(self, name: str) -> RepoBuilder:
        """Check out what is there."""
        git(self.path, "checkout", "--quiet", name)
        return self

    def merge(self, name: str) -> RepoBuilder:
        """Merge another branch into the current one, with a merge commit."""
        git(self.path, "merge", "--quiet", "--no-ff", "--message", f"Merge {name}", name)
        return self

    def move(self, old: str, new: str) -> RepoBuilder:
        """Rename a file in the worktree; `commit` records it."""
        (self.path / new).parent.mkdir(parents=True, exist_ok=True)
        git(self.path, "mv", old, new)
        return self

    def pull(
        self,
        number: int,
        files: Files | None = None,
        *,
        start: str = "",
        message: str = "",
        keep: bool = False,
    ) -> RepoBuilder:
        """Make `refs/pull/N/head`: one commit on top of `start` (the current branch when empty).

        With `keep` the commit goes on top of the pull request as it is. The current branch is not moved.
        """
        ref = f"refs/pull/{number}/head"
        here = git(self.path, "rev-parse", "--abbrev-ref", "HEAD")
        git(self.path, "checkout", "--quiet", "--detach", ref if keep else (start or here))
        self.commit(files, message or f"Pull request {number}")
        git(self.path, "update-ref", ref, "HEAD")
        return self.checkout(here)

    def delete(self, ref: str) -> RepoBuilder:
        """Delete a ref, as a forge does with the branch of a closed pull request."""
        git(self.path, "update-ref", "-d", ref)
        return self

    def submodule(self, source: RepoBuilder, path: str) -> RepoBuilder:
        """Add another repository as a submodule, with a relative address; `commit` records it."""
        relative = os.path.relpath(source.path, self.path)
        git(
            self.path,
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            f"./{relative}",
            path,
        )
        return self

    def bare(self, path: Path) -> Path:
        """Return a bare copy with all refs, as a forge keeps it."""
        shutil.copytree(self.path / ".git", path)
        git(path, "config", "core.bare", "true")
        return path


def large_repository(path: Path, files: int) -> RepoBuilder:
    """Return a repository of many small files, made by fast-import."""
    builder = RepoBuilder(path)
    lines = [b"blob\nmark :1\ndata 2\nx\n\n", b"commit refs/heads/main\n"]
    lines.append(b"committer Ada Author <ada@example.com> 1700000000 +0000\ndata 5\nBegin\n")
    lines += [b"M 100644 :1 dir%d/file%d.txt\n" % (index // 500, index) for index in range(files)]
    git(path, "fast-import", "--quiet", data=b"".join(lines))
    git(path, "update-ref", "refs/pull/1/head", "refs/heads/main")
    return builder
