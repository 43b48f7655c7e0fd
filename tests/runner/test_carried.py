"""Commits that are sent with the request: the runner takes them, from a path that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs.execution.git_bundle import _bundle
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.git import bundles, worktree
from jobs.remote.offload_runner.git.command import Git
from tests.support.bench import Bench, session_of
from tests.support.git_repos import RepoBuilder, git


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "root").mkdir()
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    repo = RepoBuilder(tmp_path / "shop").commit({"a.txt": "one\n"}).commit({"a.txt": "two\n"})
    return repo.pull(1, {"b.txt": "new\n"})


def send(
    bench: Bench, repo: RepoBuilder, number: int = 1, known: Sequence[str] = (), **changes: Any
) -> dict[str, Any]:
    """Look up at home, put the bundle where it is sent to, and return the request."""
    spec = bench.spec("/no/such/place/shop", number, **changes)
    wanted = bundles.look_up(repo.path, spec)
    file = paths.carried(bench.root, str(spec["session"]))
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as out:
        asyncio.run(_bundle(repo.path, wanted["refs"], list(known), out))
    return {
        **spec,
        "head": {"ref": wanted["head_ref"]},
        "base": {"ref": wanted["base_ref"]},
        "carried": {**wanted, "file": str(file)},
    }


def prepare(bench: Bench, spec: Mapping[str, Any]) -> dict[str, Any]:
    return worktree.prepare(bench.root, spec, bench.lines.append)


def test_what_was_sent_becomes_a_worktree_and_is_gone(bench: Bench, shop: RepoBuilder) -> None:
    spec = send(bench, shop)
    answer = prepare(bench, spec)
    assert answer["sha"] == shop.sha("refs/pull/1/head")
    assert answer["base_sha"] == answer["merge_base"] == shop.sha("main")
    assert (answer["ref"], answer["base_ref"]) == ("refs/pull/1/head", "refs/heads/main")
    assert (bench.worktree() / "b.txt").read_text() == "new\n"
    assert not Path(spec["carried"]["file"]).exists()
    git(bench.mirror, "fsck", "--connectivity-only")
    assert git(bench.mirror, "log", "--format=%s", f"refs/offload/{session_of(1)}/head").count("\n") == 2
    assert worktree.ensure_base(bench.root, session_of(1)).joinpath("a.txt").read_text() == "two\n"
    # Asked again, it is there already.
    again = prepare(bench, {**spec, "carried": {**spec["carried"], "file": ""}})
    assert (again["sha"], again["moved"]) == (answer["sha"], None)


def test_only_what_is_new_is_sent(bench: Bench, shop: RepoBuilder) -> None:
    shop.commit({"big": "x" * 10 + "".join(str(n) for n in range(50_000))})
    prepare(bench, send(bench, shop))
    shop.pull(2, {"c.txt": "two\n"})
    spec = send(bench, shop, 2, known=[shop.sha("main")])
    assert Path(spec["carried"]["file"]).stat().st_size < 2000
    assert prepare(bench, spec)["sha"] == shop.sha("refs/pull/2/head")
    git(bench.mirror, "fsck", "--connectivity-only")


def test_nothing_new_needs_no_file(bench: Bench, shop: RepoBuilder) -> None:
    prepare(bench, send(bench, shop))
    git(shop.path, "update-ref", "refs/pull/3/head", "refs/pull/1/head")
    spec = send(bench, shop, 3)
    Path(spec["carried"]["file"]).unlink()
    assert prepare(bench, {**spec, "carried": {**spec["carried"], "file": ""}})["sha"] == shop.sha(
        "refs/pull/3/head"
    )


def test_less_than_was_said_is_told_and_leaves_nothing(bench: Bench, shop: RepoBuilder) -> None:
    """The mirror was removed between the question and the sending."""
    spec = send(bench, shop, known=[shop.sha("main")])
    with pytest.raises(RunnerError) as caught:
        prepare(bench, spec)
    assert caught.value.code == "carried_incomplete"
    assert not Path(spec["carried"]["file"]).exists()
    assert not bench.job_dir().exists()
    assert not bench.worktree().exists()
    assert not bench.mirror.exists()
    assert prepare(bench, send(bench, shop))["sha"] == shop.sha("refs/pull/1/head")


def test_half_a_bundle_is_refused(bench: Bench, shop: RepoBuilder) -> None:
    spec = send(bench, shop)
    file = Path(spec["carried"]["file"])
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(RunnerError, match="not whole"):
        prepare(bench, spec)
    assert not bench.mirror.exists()


def test_a_commit_a_branch_and_the_head_as_targets(bench: Bench, shop: RepoBuilder) -> None:
    old = shop.sha("main~1")
    assert prepare(bench, send(bench, shop, 4, head={"ref": old}))["sha"] == old
    assert prepare(bench, send(bench, shop, 5, head={"ref": "main"}))["ref"] == "refs/heads/main"
    git(shop.path, "checkout", "--quiet", "--detach", "main")
    shop.commit({"d.txt": "detached\n"})
    assert prepare(bench, send(bench, shop, 6, head={"ref": "HEAD"}))["sha"] == shop.sha("HEAD")


def test_a_shallow_clone_of_ours(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{shop.path}", "shallow")
    clone = RepoBuilder.__new__(RepoBuilder)
    clone.path = tmp_path / "shallow"
    answer = prepare(bench, send(bench, clone, 7, head={"ref": "main"}))
    assert answer["sha"] == shop.sha("main")
    git(bench.mirror, "fsck", "--connectivity-only")
    # The whole repository comes later: nothing stays cut off that another job needs.
    assert prepare(bench, send(bench, shop, 1))["merge_base"] == shop.sha("main")


def test_a_ref_that_is_gone(bench: Bench, shop: RepoBuilder) -> None:
    with pytest.raises(RunnerError, match=r"has no refs/pull/9/head") as caught:
        bundles.look_up(shop.path, bench.spec(shop.url, 9))
    assert "pull/1/head" in caught.value.hint
    spec = send(bench, shop)
    prepare(bench, spec)
    # The worktree stays what it is; that the ref is gone is told.
    empty = {"refs": {}, "head": "", "shallow": [], "file": ""}
    assert prepare(bench, {**spec, "carried": empty})["gone"] is True
    with pytest.raises(RunnerError, match="has no refs/pull/8/head"):
        prepare(bench, {**bench.spec("/no/such/place", 8), "carried": empty})


@pytest.mark.parametrize(
    "sent",
    [
        {"refs": {"refs/heads/x": "not-a-sha"}},
        {"refs": {"../x": "0" * 40}},
        {"refs": {}, "file": "/etc/passwd"},
        {"refs": []},
        {"refs": {}, "shallow": ["--all"]},
    ],
)
def test_what_makes_no_sense_is_refused(bench: Bench, sent: dict[str, Any]) -> None:
    with pytest.raises(RunnerError) as caught:
        prepare(bench, {**bench.spec("/no/such/place"), "carried": sent})
    assert caught.value.code == "usage"
    assert not bench.job_dir().exists()


def test_removing_a_job_removes_what_was_sent_for_it(bench: Bench, shop: RepoBuilder) -> None:
    prepare(bench, send(bench, shop))
    file = paths.carried(bench.root, session_of(1))
    for path in (file, file.with_name(file.name + ".part")):
        path.write_text("left by a line that broke")
    worktree.remove(bench.root, session_of(1))
    assert list(file.parent.glob(".*bundle*")) == []
    assert Git(str(bench.mirror)).ok("rev-parse", "--git-dir")
