"""Files and commits that a job made large, so that their reader runs out of memory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.engine.observe import Watched
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import job_paths, read_json
from jobs.remote.offload_runner.git.command import Git
from jobs.remote.offload_runner.steps.results.collect import collect
from tests.support.leaks import resident_bytes

MIB = 1024 * 1024


def _sparse(path: Path, data: bytes = b"") -> None:
    with path.open("wb") as file:
        file.write(data)
        file.truncate(3 << 30)


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("prepare", [_sparse, _link, os.mkfifo, os.mkdir])
def test_a_job_file_that_is_no_small_regular_one_is_no_json(tmp_path: Path, prepare: object) -> None:
    before = resident_bytes()
    prepare(tmp_path / "status.json")  # type: ignore[operator]
    assert read_json(tmp_path / "status.json") is None
    assert resident_bytes() - before < 16 * MIB


def test_a_journal_without_an_end_costs_a_part_at_a_time(tmp_path: Path) -> None:
    job = job_paths(tmp_path, "offload-job")
    job.job_dir.mkdir(parents=True)
    journal = Journal(job.journal)
    journal.append("prepared")
    written = job.journal.read_bytes()
    job.status.write_text("[1]")
    watched = Watched(job)
    before = resident_bytes()
    assert [event["kind"] for event in watched.look()] == ["prepared"]
    _sparse(job.journal, written)
    assert watched.look() == []
    assert watched.status(None)["heartbeat"] is None
    assert resident_bytes() - before < 64 * MIB
    job.journal.unlink()
    _link(job.journal)
    assert (watched.look(), journal.read()) == ([], [])


def test_events_after_a_line_that_is_too_long_are_still_seen(tmp_path: Path) -> None:
    job = job_paths(tmp_path, "offload-job")
    job.job_dir.mkdir(parents=True)
    line = b'{"seq":%d,"at":"","kind":"note"}\n'
    job.journal.write_bytes(line % 1 + b"x" * (20 * MIB) + b"\n" + line % 2)
    watched = Watched(job)
    seen = [event["seq"] for _ in range(4) for event in watched.look()]
    assert seen == [1, 2]


def test_what_git_prints_is_bounded(tmp_path: Path) -> None:
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*run, "init", "--quiet"], check=True)
    (tmp_path / "text").write_text("line\n" * 500_000)
    subprocess.run([*run, "add", "."], check=True)
    subprocess.run([*run, "commit", "--quiet", "-m", "one"], check=True)
    git = Git(str(tmp_path))
    assert len(git.out("show", "HEAD")) > 2_500_000
    assert len(git.beginning(100_000, "show", "HEAD")) == 100_000
    with pytest.raises(RunnerError, match="Running git show failed: git printed more than 100000 bytes"):
        git.run("show", "HEAD", limit=100_000)
    asked = "HEAD:text\n" * 50_000  # more than two pipes hold
    done = git.run("cat-file", "--batch-check", input=asked.encode())
    assert done.stdout.count(b" blob ") == 50_000


def test_test_reports_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(collect.__globals__, "TOTAL_LIMIT", 1000)
    (tmp_path / "results").mkdir()
    for name in ("a", "b", "c"):
        case = f'<testsuite><testcase name="{name}">{" " * 600}</testcase></testsuite>'
        (tmp_path / "results" / f"{name}.xml").write_text(case)
    found = collect(tmp_path / "results", tmp_path, [], None)
    assert [case.name for case in found.cases] == ["a", "b"]
    assert not found.complete
    assert "There are more or larger test reports than are read: c.xml is not." in found.notes
