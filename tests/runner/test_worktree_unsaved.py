"""Nothing that exists nowhere else is removed: what counts as unsaved, its bundle, and the removal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import checkout, worktree
from tests.support.bench import Bench, git_stub, session_of
from tests.support.git_repos import RepoBuilder, git

S = session_of(1)
CLEAN: dict[str, list[str]] = {"unpushed": [], "uncommitted": []}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    return RepoBuilder(tmp_path / "shop").commit({"cart.py": "1", "old.py": ""}).pull(1, {"cart.py": "2"})


@pytest.fixture
def tree(bench: Bench, shop: RepoBuilder) -> Path:
    bench.prepare(shop)
    return bench.worktree()


def commit(tree: Path, name: str, content: str = "x") -> str:
    (tree / name).write_text(content)
    git(tree, "add", name)
    git(tree, "commit", "--quiet", "--message", f"Add {name}")
    return git(tree, "rev-parse", "HEAD")


def plan(bench: Bench, action: str) -> None:
    (bench.job_dir() / "plan.json").write_text(json.dumps({"job": {"action": action}}))


def test_a_fresh_worktree_is_clean(bench: Bench, tree: Path) -> None:
    assert worktree.check_clean(bench.root, S) == CLEAN
    assert worktree.rescue(bench.root, S) is None


def test_a_job_that_is_not_there_is_clean(bench: Bench) -> None:
    assert worktree.check_clean(bench.root, S) == CLEAN
    assert worktree.rescue(bench.root, S) is None
    assert worktree.snapshot(bench.root, S) == {}


def test_changes_of_every_kind_are_seen(bench: Bench, tree: Path) -> None:
    (tree / "cart.py").write_text("mine")
    (tree / "old.py").unlink()
    (tree / "dir").mkdir()
    (tree / "dir" / "new\nline.txt").write_text("x")
    Path(str(tree) + "/b\udcff.txt").write_text("x")
    (tree / "node_modules").mkdir()
    (tree / "node_modules" / "x.js").write_text("built")
    found = worktree.check_clean(bench.root, S)
    assert found["uncommitted"] == ["b\\xff.txt", "cart.py", "dir/new\\nline.txt", "old.py"]
    json.dumps(found).encode("utf-8")


def test_what_the_tasks_left_is_not_the_users(bench: Bench, tree: Path) -> None:
    (tree / "report.xml").write_text("left by a task")
    (tree / "cart.py").write_text("formatted by a task")
    plan(bench, "review")
    assert set(worktree.snapshot(bench.root, S)) == {"report.xml", "cart.py"}
    assert worktree.check_clean(bench.root, S) == CLEAN
    (tree / "report.xml").write_text("edited by the user afterwards")
    (tree / "notes.txt").write_text("written by the user")
    assert worktree.check_clean(bench.root, S)["uncommitted"] == ["notes.txt", "report.xml"]


@pytest.mark.parametrize("action", ["fix", "implement", "open"])
def test_what_an_agent_wrote_for_the_user_is_the_users(bench: Bench, tree: Path, action: str) -> None:
    (tree / "cart.py").write_text("fixed")
    plan(bench, action)
    worktree.snapshot(bench.root, S)
    assert worktree.check_clean(bench.root, S)["uncommitted"] == ["cart.py"]


def test_commits_count_until_they_are_pushed(bench: Bench, shop: RepoBuilder, tree: Path) -> None:
    sha = commit(tree, "new.py")
    assert worktree.check_clean(bench.root, S)["unpushed"] == [f"{sha[:7]} Add new.py"]
    git(tree, "push", "--quiet", "origin", "HEAD:refs/heads/mine")
    assert worktree.check_clean(bench.root, S) == CLEAN


def test_a_branch_left_behind_counts(bench: Bench, tree: Path) -> None:
    git(tree, "switch", "--quiet", "-c", "attempt")
    sha = commit(tree, "new.py")
    git(tree, "switch", "--quiet", "--detach", "HEAD~1")
    assert worktree.check_clean(bench.root, S)["unpushed"] == [f"{sha[:7]} Add new.py"]


def test_commits_are_seen_from_an_unborn_branch(bench: Bench, tree: Path) -> None:
    git(tree, "switch", "--quiet", "-c", "attempt")
    sha = commit(tree, "new.py")
    git(tree, "switch", "--quiet", "--orphan", "island")
    (tree / "island.py").write_text("x")
    assert worktree.check_clean(bench.root, S) == {
        "unpushed": [f"{sha[:7]} Add new.py"],
        "uncommitted": ["island.py"],
    }
    assert worktree.rescue(bench.root, S) is not None


def test_a_branch_of_another_job_does_not_count(bench: Bench, shop: RepoBuilder, tree: Path) -> None:
    shop.pull(2, {"cart.py": "3"})
    bench.prepare(shop, 2)
    git(bench.worktree(2), "switch", "--quiet", "-c", "theirs")
    commit(bench.worktree(2), "theirs.py")
    assert worktree.check_clean(bench.root, S) == CLEAN
    worktree.remove(bench.root, S)
    assert git(bench.worktree(2), "branch", "--show-current") == "theirs"


def test_the_bundle_brings_everything_back(
    bench: Bench, shop: RepoBuilder, tree: Path, tmp_path: Path
) -> None:
    git(tree, "switch", "--quiet", "-c", "attempt")
    attempt = commit(tree, "attempt.py")
    git(tree, "switch", "--quiet", "--detach", "HEAD~1")
    head = commit(tree, "new.py")
    (tree / "cart.py").write_text("unsaved")
    (tree / "b\n.txt").write_text("odd name")
    (tree / "old.py").unlink()
    (tree / "staged.py").write_text("staged")
    git(tree, "add", "staged.py")
    before = git(tree, "status", "--porcelain")
    bundle = worktree.rescue(bench.root, S)
    assert bundle is not None
    assert Path(bundle).parent == bench.root / "state" / "rescue"
    assert git(tree, "status", "--porcelain") == before
    assert f"refs/offload/{S}/rescue" not in git(bench.mirror, "for-each-ref")
    worktree.remove(bench.root, S)
    git(tmp_path, "clone", "--quiet", shop.url, "back")
    back = tmp_path / "back"
    git(back, "fetch", "--quiet", bundle, f"+refs/offload/{S}/rescue/*:refs/rescued/*")
    assert git(back, "rev-parse", "refs/rescued/head") == head
    assert git(back, "rev-parse", "refs/rescued/branch/attempt") == attempt
    assert git(back, "rev-parse", "refs/rescued/wip^") == head
    files = git(back, "ls-tree", "--name-only", "-z", "refs/rescued/wip").split("\0")
    assert set(files) - {""} == {"b\n.txt", "cart.py", "new.py", "staged.py"}
    assert git(back, "show", "refs/rescued/wip:cart.py") == "unsaved"


def test_a_second_rescue_does_not_overwrite_the_first(bench: Bench, tree: Path) -> None:
    (tree / "a.py").write_text("a")
    bundles = {worktree.rescue(bench.root, S), worktree.rescue(bench.root, S)}
    assert len(bundles) == 2
    assert None not in bundles


def test_a_rescue_that_fails_says_so_and_leaves_no_half_bundle(
    bench: Bench, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a.py").write_text("a")
    script = 'case "$*" in *" bundle create"*) echo "fatal: No space left on device" >&2; exit 128;; esac'
    monkeypatch.setenv("PATH", git_stub(tmp_path / "stub", script), prepend=":")
    with pytest.raises(RunnerError) as caught:
        worktree.rescue(bench.root, S)
    assert caught.value.code == "no_space"
    assert list((bench.root / "state" / "rescue").iterdir()) == []
    assert (tree / "a.py").read_text() == "a"


def test_removal_leaves_nothing_and_is_repeatable(bench: Bench, shop: RepoBuilder, tree: Path) -> None:
    worktree.ensure_base(bench.root, S)
    git(tree, "switch", "--quiet", "-c", "mine")
    answer = worktree.remove(bench.root, S)
    assert answer == {"worktree": True, "refs": 2}
    assert list((bench.root / "worktrees").iterdir()) == []
    assert git(bench.mirror, "for-each-ref") == ""
    assert not list((bench.mirror / "worktrees").glob("*"))
    assert worktree.remove(bench.root, S) == {"worktree": True, "refs": 0}


def test_removal_takes_read_only_directories(bench: Bench, tree: Path) -> None:
    (tree / "cache" / "mod").mkdir(parents=True)
    (tree / "cache" / "mod" / "x.go").write_text("")
    (tree / "cache" / "mod").chmod(0o555)
    worktree.remove(bench.root, S)
    assert not tree.exists()


def test_removal_of_one_job_leaves_the_others(bench: Bench, shop: RepoBuilder, tree: Path) -> None:
    shop.pull(12, {"cart.py": "12"})
    bench.prepare(shop, 12)
    worktree.remove(bench.root, S)
    assert git(bench.worktree(12), "status", "--porcelain") == ""
    assert git(bench.worktree(12), "rev-parse", "HEAD") == shop.sha("refs/pull/12/head")


def test_removal_finds_the_mirror_without_the_job_directory(bench: Bench, tree: Path) -> None:
    for file in bench.job_dir().iterdir():
        file.unlink()
    bench.job_dir().rmdir()
    assert worktree.remove(bench.root, S)["refs"] == 2
    assert git(bench.mirror, "for-each-ref") == ""


def test_a_half_made_worktree_holds_nobodys_work(bench: Bench, tree: Path) -> None:
    checkout.marker(tree).touch()
    shutil.rmtree(tree / ".git")
    assert worktree.check_clean(bench.root, S) == CLEAN
    worktree.remove(bench.root, S)
    assert not tree.exists()
    assert not checkout.marker(tree).exists()
