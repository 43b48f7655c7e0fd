"""Trees that a job made hard to remove, or that lead elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.removal import remove_tree


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
    tree = tmp_path / "tree" / "inner"
    tree.mkdir(parents=True)
    (tree / "stuck").write_text("x")
    if subprocess.run(["chattr", "+i", str(tree / "stuck")], capture_output=True, check=False).returncode:
        pytest.skip("This file system has no immutable files.")
    try:
        with pytest.raises(RunnerError, match=r"inner.*failed: Operation not permitted"):
            remove_tree(tmp_path / "tree")
    finally:
        found = next(path for path in (tmp_path / "tree").rglob("stuck"))
        subprocess.run(["chattr", "-i", str(found)], check=True)
