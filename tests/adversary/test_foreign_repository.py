"""A repository of another user, whose configuration would have git run programs as the caller."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync

from jobs.errors import Refused
from jobs.execution.repositories import resolve_repository
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import bundles
from tests.support.bench import Bench
from tests.support.git_repos import RepoBuilder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Only root gives files to another user.")


@pytest.fixture
def theirs(tmp_path: Path) -> RepoBuilder:
    """A repository of another user, with a pull request."""
    shop = RepoBuilder(tmp_path / "theirs").commit({"a": "1"}).pull(1, {"a": "2"})
    subprocess.run(["chown", "-R", "1234", shop.path], check=True)
    return shop


def _refuses(error: RunnerError | Refused, theirs: RepoBuilder) -> None:
    assert f"{theirs.path}" in error.message
    assert "belongs to another user, so git does not read it." in error.message
    assert f"git config --global --add safe.directory {theirs.path}" in error.hint


def test_it_is_refused_wherever_it_is_opened(
    theirs: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "root")
    with pytest.raises(RunnerError) as caught:
        bench.prepare(theirs)
    _refuses(caught.value, theirs)
    with pytest.raises(RunnerError) as caught:
        bundles.look_up(theirs.path, bench.spec(theirs.url))
    _refuses(caught.value, theirs)
    (theirs.path / "below").mkdir()
    with pytest.raises(Refused) as refused:
        async_to_sync(resolve_repository)("", theirs.path / "below")
    _refuses(refused.value, theirs)

    # As git, so Offload: an exception of the user's is kept to.
    allowed = tmp_path / "gitconfig"
    # (git before 2.45 asks for the directory `.git` when it serves a fetch.)
    allowed.write_text(f"[safe]\n\tdirectory = {theirs.path}\n\tdirectory = {theirs.path}/.git\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(allowed))
    assert bench.prepare(theirs)["ref"] == "refs/pull/1/head"
    assert bundles.look_up(theirs.path, bench.spec(theirs.url))["head_ref"] == "refs/pull/1/head"
