"""A fresh command line and a repository with pull requests, for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli, offload_cli
from tests.support.git_repos import NO_HUNKS, RepoBuilder

MAKEFILE = "test:\n\tsh ./test.sh\n"
GATE = "test -f app.txt\n"


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with offload_cli(tmp_path) as command_line:
        yield command_line


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    """#1 passes, #2 fails its test, #3 takes until `go` appears next to the repository (or is stopped)."""
    repo = RepoBuilder(tmp_path / "shop")
    repo.commit({**NO_HUNKS, "Makefile": MAKEFILE, "test.sh": GATE, "app.txt": "one\n"})
    repo.pull(1, {"app.txt": "two\n"})
    repo.pull(2, {"app.txt": None})
    go = tmp_path / "go"
    repo.pull(3, {"test.sh": f"echo waiting for go\nwhile ! test -f {go}; do sleep 0.1; done\n"})
    return repo
