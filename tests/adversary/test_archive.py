"""An archive of a job's evidence with links, devices and names that lead out of it."""

from __future__ import annotations

import importlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from jobs.errors import TooLarge
from jobs.transport.local import LocalTransport
from tests.support.leaks import resident_bytes

# The package exports a function of the same name.
archive = importlib.import_module("jobs.execution.archive")


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, size
    return found


def _packed(*members: tarfile.TarInfo) -> io.BytesIO:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    data.seek(0)
    return data


def test_only_files_and_directories_are_unpacked(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    data = _packed(
        _member("job", tarfile.DIRTYPE),
        _member("job/log", size=3),
        _member("job/link", tarfile.SYMTYPE, str(tmp_path)),
        _member("job/link/secret", size=3),
        _member("job/hard", tarfile.LNKTYPE, str(secret)),
        _member("job/fifo", tarfile.FIFOTYPE),
        _member("job/disk", tarfile.BLKTYPE),
        _member("../outside", size=3),
        _member("/tmp/absolute-of-an-archive", size=3),
    )
    archive._unpack(data, tmp_path / "home" / "1", "job")
    found = sorted(path.relative_to(tmp_path / "home").as_posix() for path in (tmp_path / "home").rglob("*"))
    assert found == ["1", "1/link", "1/link/secret", "1/log"]
    assert not (tmp_path / "home" / "1" / "link").is_symlink()
    assert secret.read_text() == "kept"
    assert not Path("/tmp/absolute-of-an-archive").exists()


def test_too_much_is_refused_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ARCHIVE_BYTES", 10)
    with pytest.raises(TooLarge, match="larger than 10 bytes"):
        archive._unpack(_packed(_member("job/log", size=11)), tmp_path / "home" / "1", "job")
    assert list((tmp_path / "home").iterdir()) == []


async def test_evidence_that_a_job_made_large_or_special_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tmp_path / "jobs" / "offload-job"
    (job / "tasks").mkdir(parents=True)
    (job / "assessment.md").write_text("fine")
    (job / "tasks" / "new\nline.log").write_text("kept")
    with (job / "tasks" / "test.log").open("wb") as file:
        file.truncate(3 << 30)
    os.mkfifo(job / "tasks" / "lint.log")
    (job / "tasks" / "types.log").symlink_to("/etc/hostname")
    before = resident_bytes()
    copied = archive.copy_evidence(
        LocalTransport(), str(tmp_path / "jobs"), "offload-job", tmp_path / "home" / "1"
    )
    assert await copied
    found = [path.relative_to(tmp_path / "home") for path in (tmp_path / "home").rglob("*")]
    assert sorted(map(str, found)) == ["1", "1/assessment.md", "1/tasks", "1/tasks/new\nline.log"]
    assert resident_bytes() - before < 64 * 1024 * 1024

    monkeypatch.setattr(archive, "ARCHIVE_BYTES", 5000)
    again = archive.copy_evidence(
        LocalTransport(), str(tmp_path / "jobs"), "offload-job", tmp_path / "home" / "1"
    )
    with pytest.raises(TooLarge, match="more than 5000 bytes"):
        await again
    assert (tmp_path / "home" / "1" / "assessment.md").read_text() == "fine"
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["1"]
