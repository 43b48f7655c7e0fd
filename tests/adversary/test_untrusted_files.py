"""Files in a job's directories, prepared by the job to mislead, block or fill its reader."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.remote.offload_runner.files.untrusted import UntrustedFile, read

LIMIT = 1000


def _link(tree: Path) -> None:
    (tree / "result.xml").symlink_to("/etc/hostname")


def _hard_to_see_link(tree: Path) -> None:
    (tree / "result.xml").symlink_to("inside.xml")
    (tree / "inside.xml").write_text("<testsuite/>")


def _fifo(tree: Path) -> None:
    os.mkfifo(tree / "result.xml")


def _socket(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tree / "result.xml"))


def _device(tree: Path) -> None:
    try:
        os.mknod(tree / "result.xml", 0o20666, os.makedev(1, 5))  # /dev/zero, without an end
    except PermissionError:
        (tree / "result.xml").symlink_to("/dev/zero")


def _sparse(tree: Path) -> None:
    with (tree / "result.xml").open("wb") as file:
        file.truncate(3 << 30)


def _endless_proc(tree: Path) -> None:
    (tree / "result.xml").symlink_to("/proc/self/environ")


def _folder(tree: Path) -> None:
    (tree / "result.xml").mkdir()


@pytest.mark.parametrize(
    "prepare",
    [_link, _hard_to_see_link, _fifo, _socket, _device, _sparse, _endless_proc, _folder, lambda tree: None],
)
def test_a_file_that_is_not_a_small_regular_one_is_refused(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    prepare(tmp_path)
    with pytest.raises(UntrustedFile, match=r"Reading result\.xml failed"):
        read(tmp_path, "result.xml", limit=LIMIT)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "", ".", "a\0b"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "tree" / "a").mkdir(parents=True)
    with pytest.raises(UntrustedFile):
        read(tmp_path / "tree", name, limit=LIMIT)


def test_a_linked_directory_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "result.xml").write_text("x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "reports").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UntrustedFile):
        read(tmp_path / "tree", "reports/result.xml", limit=LIMIT)
    (tmp_path / "other").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UntrustedFile):
        read(tmp_path / "other", "result.xml", limit=LIMIT)


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "result.xml").write_bytes(b"x" * LIMIT)
    assert read(tmp_path, "reports//./result.xml", limit=LIMIT) == b"x" * LIMIT
