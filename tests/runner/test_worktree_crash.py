"""Killed at any point, the next `prepare` puts it right."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import pytest

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import locks
from jobs.remote.offload_runner.files.removal import remove_tree
from jobs.remote.offload_runner.git import checkout, worktree
from tests.support.bench import Bench, git_stub, session_of
from tests.support.git_repos import RepoBuilder, git

# Kills the process that called it, before the git command whose number is in KILL_AT.
_KILLER = """\
echo x >> "$HERE/count"
if [ "$(wc -l < "$HERE/count")" -eq "$KILL_AT" ]; then kill -9 $PPID; exit 1; fi
"""
# Starts a fetch or a checkout, and lets it hang after it has taken git's locks.
_HANGER = """\
case "$*" in *" reset --hard"*)
  gitdir=$("$REAL" rev-parse --git-dir); : > "$gitdir/index.lock"; echo $$ > "$HERE/pid"; exec sleep 600;;
esac
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "root")


@pytest.fixture
def shop(tmp_path: Path) -> RepoBuilder:
    return RepoBuilder(tmp_path / "shop").commit({"cart.py": "1"}).pull(1, {"cart.py": "2"})


def wait_for(path: Path) -> str:
    end = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)
    return path.read_text().strip()


def assert_whole(bench: Bench, shop: RepoBuilder) -> None:
    assert git(bench.worktree(), "rev-parse", "HEAD") == shop.sha("refs/pull/1/head")
    assert git(bench.worktree(), "status", "--porcelain") == ""
    assert (bench.worktree() / "cart.py").read_text() == "2"
    assert not (bench.mirror / "worktrees").exists()
    assert not list((bench.root / "making").iterdir())
    assert not list((bench.root / "worktrees").glob("*.making"))
    assert not list((bench.root / "repos" / "acme").glob(".*.new"))


def test_killed_before_any_git_command(
    bench: Bench, shop: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in itertools.count(1):
        monkeypatch.setenv("KILL_AT", str(number))
        stub = git_stub(tmp_path / f"stub{number}", _KILLER)
        process = bench.start(shop, path=stub)
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        bench.prepare(shop)
        assert_whole(bench, shop)
        worktree.remove(bench.root, session_of(1))
        remove_tree(bench.job_dir())
        if number % 2:  # with and without a mirror that was there before
            remove_tree(bench.mirror)
    assert number > 10
    assert_whole(bench, shop)


def test_killed_in_the_middle_of_a_checkout(bench: Bench, shop: RepoBuilder, tmp_path: Path) -> None:
    stub = git_stub(tmp_path / "stub", _HANGER)
    process = bench.start(shop, path=stub)
    child = int(wait_for(tmp_path / "stub" / "pid"))
    process.kill()
    process.communicate(timeout=20)
    end = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < end:  # it dies with its parent
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()
    assert (bench.root / "worktrees" / f"{session_of(1)}.making").exists()
    bench.prepare(shop)
    assert_whole(bench, shop)


def test_stale_locks_of_a_killed_fetch_do_not_stop_the_next(bench: Bench, shop: RepoBuilder) -> None:
    bench.prepare(shop)
    worktree.remove(bench.root, session_of(1))
    refs = bench.mirror / "refs/offload" / session_of(1)
    refs.mkdir(parents=True)
    (refs / "head.lock").touch()
    old = bench.mirror / "packed-refs.lock"
    old.touch()
    pack = bench.mirror / "objects/pack/tmp_pack_abc"
    pack.parent.mkdir(exist_ok=True)
    pack.write_bytes(b"cut short")
    for file in (old, pack):
        os.utime(file, (1, 1))
    remove_tree(bench.job_dir())
    bench.prepare(shop)
    assert_whole(bench, shop)
    assert not pack.exists()


def test_a_worktree_deleted_by_hand_is_made_again(bench: Bench, shop: RepoBuilder) -> None:
    bench.prepare(shop)
    remove_tree(bench.worktree())
    bench.prepare(shop)
    assert_whole(bench, shop)


def test_killed_in_the_middle_of_making_the_base(bench: Bench, shop: RepoBuilder) -> None:
    bench.prepare(shop)
    base = worktree.ensure_base(bench.root, session_of(1))
    checkout.marker(base).touch()
    (base / "cart.py").unlink()
    assert worktree.ensure_base(bench.root, session_of(1)) == base
    assert (base / "cart.py").read_text() == "1"
    assert not checkout.marker(base).exists()


def test_the_base_comes_back_to_its_commit(bench: Bench, shop: RepoBuilder) -> None:
    bench.prepare(shop)
    base = worktree.ensure_base(bench.root, session_of(1))
    (base / "cart.py").write_text("something else")
    (base / "new.py").write_text("left")
    (base / "node_modules").mkdir()
    (base / ".git" / "index.lock").touch()
    worktree.reset_base(bench.root, session_of(1))
    assert sorted(entry.name for entry in base.iterdir()) == [".git", "cart.py", "node_modules"]
    assert (base / "cart.py").read_text() == "1"


def test_a_lock_is_waited_for_with_a_word_and_a_bound(tmp_path: Path) -> None:
    said: list[str] = []
    path = str(tmp_path / "locks" / "one.lock")
    with (
        locks.held(path, what="The mirror"),
        pytest.raises(RunnerError) as caught,
        locks.held(path, what="The mirror", seconds=0.1, on_wait=lambda: said.append("waiting")),
    ):
        pass
    assert (caught.value.code, said) == ("locked", ["waiting"])
    assert "The mirror is in use" in caught.value.message
    with locks.held(path, what="The mirror", seconds=0.1):
        os.unlink(path)
        with locks.held(path, what="The mirror", seconds=0.1):
            pass  # a lock on a file that is gone holds no process back


def test_waiting_for_the_mirror_is_said(bench: Bench, shop: RepoBuilder) -> None:
    bench.mirror.parent.mkdir(parents=True)
    with locks.held(str(bench.mirror) + ".lock", what="x"):
        process = bench.start(shop)
        assert process.stdout is not None
        heard = b""
        while b"Waiting for another job's fetch" not in heard:
            line = process.stdout.readline()
            assert line, heard
            heard += line
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr.decode()
