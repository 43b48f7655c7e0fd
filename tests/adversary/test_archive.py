"""An archive of a job's evidence with links, devices and names that lead out of it."""

from __future__ import annotations

import importlib
import io
import tarfile
from pathlib import Path

import pytest

from jobs.errors import WorkerUnavailable

# The package exports a function of the same name.
archive = importlib.import_module("jobs.execution.archive")


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, size
    return found


def _packed(*members: tarfile.TarInfo) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return data.getvalue()


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
    with pytest.raises(WorkerUnavailable, match="larger than 10 bytes"):
        archive._unpack(_packed(_member("job/log", size=11)), tmp_path / "home" / "1", "job")
    assert list((tmp_path / "home").iterdir()) == []
