"""Trees that a job made hard to remove, or that lead elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.removal import remove_tree
from tests.support.bench import PROJECT, Bench, session_of
from tests.support.git_repos import RepoBuilder, git
from tests.support.runner_root import RunnerRoot


def _locked(tree: Path) -> None:
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    (tree / "a" / "b").chmod(0)
    (tree / "a").chmod(0)


def _deep(tree: Path) -> None:
    tree.mkdir()
    folder = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=folder)
        inner = os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)


def _links(tree: Path) -> None:
    tree.mkdir()
    (tree / "out").symlink_to(tree.parent / "precious")
    (tree / "loop").symlink_to(tree)
    (tree / "nowhere").symlink_to("/nowhere/at/all")


def _odd_names(tree: Path) -> None:
    tree.mkdir()
    for name in ("-rf", "new\nline", ".removing-0", "*", "a" * 255):
        (tree / name).mkdir()
        (tree / name / ".removing-0").mkdir()


def _specials(tree: Path) -> None:
    tree.mkdir()
    os.mkfifo(tree / "fifo")
    with (tree / "sparse").open("wb") as file:
        file.truncate(1 << 40)


def _is_a_link(tree: Path) -> None:
    tree.symlink_to(tree.parent / "precious")


@pytest.mark.parametrize(
    "prepare", [_locked, _deep, _links, _odd_names, _specials, _is_a_link, lambda t: None]
)
def test_a_tree_is_removed_and_nothing_beside_it(tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    tree = tmp_path / "tree"
    prepare(tree)
    remove_tree(tree)
    assert not os.path.lexists(tree)
    assert (tmp_path / "precious" / "file").read_text() == "kept"


def test_what_resists_is_named_with_the_reason(tmp_path: Path) -> None:
    tree = tmp_path / "tree" / "outer" / "inner"
    tree.mkdir(parents=True)
    (tree / "stuck").write_text("x")
    if subprocess.run(["chattr", "+i", str(tree / "stuck")], capture_output=True, check=False).returncode:
        pytest.skip("This file system has no immutable files.")
    try:
        with pytest.raises(
            RunnerError, match=r"outer/inner/stuck\) failed: Operation not permitted"
        ) as caught:
            remove_tree(tmp_path / "tree")
        # The path as it is now, so that it can be freed.
        assert Path(caught.value.message.split()[1]).read_text() == "x"
    finally:
        found = next(path for path in (tmp_path / "tree").rglob("stuck"))
        subprocess.run(["chattr", "-i", str(found)], check=True)


_MOUNTED = """
import subprocess, sys
from pathlib import Path
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.removal import empty_tree, remove_tree
tree, other = Path(sys.argv[1]), Path(sys.argv[2])
for place in (tree / "a b", tree):
    subprocess.run(["mount", "--bind", other, place], check=True)
    try:
        remove_tree(tree)
    except RunnerError as error:
        print(error.message, error.hint)
    subprocess.run(["umount", place], check=True)
remove_tree(tree)
"""


def test_a_file_system_that_is_mounted_in_a_tree_is_not_emptied(tmp_path: Path) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "a b").mkdir(parents=True)
    other.mkdir()
    (other / "precious").write_text("kept")
    argv = ["unshare", "--mount", sys.executable, "-c", _MOUNTED, str(tree), str(other)]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=False)
    if b"unshare" in done.stderr.encode():
        pytest.skip("Mounting is not possible on this machine.")
    assert done.stdout.splitlines() == [
        f"Removing {tree} failed: a file system is mounted at {place}. "
        f"Unmount it (`umount {place}`) and remove the job again."
        for place in (tree / "a b", tree)
    ], done.stderr
    assert (other / "precious").read_text() == "kept"
    assert not tree.exists()


# Removing whole jobs whose git is broken


@pytest.fixture
def bench(root: RunnerRoot, tmp_path: Path) -> Bench:
    # Inside another repository: what is none any more must not be taken for a part of it.
    git(root.path, "init", "--quiet")
    bench = Bench(root.path)
    bench.prepare(RepoBuilder(tmp_path / "shop").commit({"a": "1"}).pull(1, {"a": "2"}))
    return bench


def _plan(bench: Bench, action: str) -> None:
    (bench.job_dir() / "plan.json").write_text(json.dumps({"job": {"action": action}}))


def _bad_head(own: Path) -> None:
    (own / "HEAD").write_text("nonsense")


def _bad_config(own: Path) -> None:
    (own / "config").write_text("[[[")


def _a_fifo(own: Path) -> None:
    shutil.rmtree(own)
    os.mkfifo(own)


def _many_links(own: Path) -> None:
    shutil.rmtree(own)
    own.symlink_to(".git")


@pytest.mark.parametrize("damage", [_bad_head, _bad_config, _a_fifo, _many_links])
def test_a_review_without_git_is_removed_by_force(
    root: RunnerRoot, bench: Bench, damage: Callable[[Path], None]
) -> None:
    _plan(bench, "review")
    damage(bench.worktree() / ".git")
    refused = root.call("clean", "--session", session_of(1))
    answer = json.loads(refused.stdout.splitlines()[-1])
    assert (answer["code"], refused.returncode) == ("unsaved_unknown", 77)
    assert answer["message"].startswith(f"What is unsaved in {bench.worktree()} is unknown: ")
    assert "--force" in answer["hint"]
    assert root.lines("clean", "--session", session_of(1), "--force")[-1]["bundle"] is None
    assert not bench.worktree().exists()
    assert not bench.job_dir().exists()
    assert git(bench.mirror, "for-each-ref") == ""


@pytest.mark.parametrize("damage", [_bad_head, shutil.rmtree])
def test_work_that_git_cannot_bundle_is_moved_to_safety(
    root: RunnerRoot, bench: Bench, damage: Callable[[Path], None]
) -> None:
    _plan(bench, "open")
    (bench.worktree() / "mine").write_text("kept")
    damage(bench.worktree() / ".git")
    assert root.call("clean", "--session", session_of(1)).returncode == 77
    answer = root.lines("clean", "--session", session_of(1), "--force")[-1]
    assert answer["bundle"] is None
    assert "is unknown: " in answer["because"]
    assert Path(answer["kept"]).parent == root.path / "state" / "rescue"
    assert (Path(answer["kept"]) / "mine").read_text() == "kept"
    assert not bench.worktree().exists()
    assert not bench.job_dir().exists()


def test_damaged_mirrors_do_not_keep_a_job(root: RunnerRoot, bench: Bench) -> None:
    (bench.job_dir() / "prepared.json").unlink()  # so that every mirror is looked at
    (root.path / "repos" / "acme" / "other.git").mkdir()
    (bench.mirror / "HEAD").write_text("nonsense")
    root.lines("clean", "--session", session_of(1), "--force")
    assert not bench.worktree().exists()
    assert not bench.job_dir().exists()


def test_a_mirror_that_cannot_be_written_is_named(root: RunnerRoot, bench: Bench) -> None:
    (bench.mirror / "packed-refs.lock").write_text("")  # fresh: as of another git at work
    done = root.call("clean", "--session", session_of(1), "--force")
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["code"] == "remove_failed"
    assert f"Removing the refs of {session_of(1)} from {bench.mirror} failed: " in answer["message"]
    (bench.mirror / "packed-refs.lock").unlink()
    root.lines("clean", "--session", session_of(1), "--force")
    assert not bench.job_dir().exists()


@pytest.mark.parametrize("form", ["folder", "link", "file", "fifo"])
@pytest.mark.parametrize("part", ["home", "caches", "agents", "secret", "base/home"])
def test_what_an_earlier_job_put_where_a_later_one_has_its_home_is_gone(
    part: str, form: str, tmp_path: Path
) -> None:
    bench = Bench(tmp_path / "root")
    shop = RepoBuilder(tmp_path / "shop").commit({"a": "1\n"}).pull(1, {"a": "2\n"})
    home = bench.root / part / session_of(1)
    home.parent.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    if form == "folder":
        (home / ".tmp").mkdir(parents=True)
        (home / ".npmrc").write_text("ignore-scripts=false\n")
    elif form == "link":
        home.symlink_to(precious)
    elif form == "file":
        home.write_text("x")
    else:
        os.mkfifo(home)
    bench.prepare(shop, own_caches=True)
    assert home.is_dir()
    assert not home.is_symlink()
    assert os.listdir(home) == ([] if part == "caches" else [".tmp"])
    assert os.listdir(precious) == ["file"]
    (home / "mine").write_text("x")
    bench.prepare(shop, own_caches=True)
    assert (home / "mine").exists(), "a job that has begun keeps its own"
