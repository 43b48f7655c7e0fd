"""What agents say, read; and profiles, made and copied."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jobs.agents.base import Profile
from jobs.remote.offload_runner.commands import profile
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.steps.agent import read
from jobs.remote.offload_runner.steps.quotes import verify
from jobs.remote.offload_runner.steps.record import Job
from tests.support.bench import Bench, session_of
from tests.support.git_repos import RepoBuilder
from tests.support.runner_root import RunnerRoot

FILES = {".agent/settings.json": "{}\n", "work/.env": ""}


def test_an_answer_is_found_in_what_surrounds_it() -> None:
    said = 'Sure!\n```json\n{"summary": "s", "findings": [{"message": "m"}, "x", {"message": ""}]}\n```'
    answer = {
        "summary": "s",
        "findings": [{"severity": "warning", "message": "m", "file": None, "line": None, "quote": ""}],
    }
    assert read(said, "") == answer
    assert read("warning: {x}\n" + json.dumps({"response": said}), "response") == answer
    quoting = 'The default {} of a.py, and {"findings": []} there: ' + said
    assert read(quoting, "") == read(said + ' as in {"findings": []}', "") == answer
    assert read(json.dumps({"response": quoting}), "response") == answer
    for nothing in ("nothing", "{}", '{"error": "quota exceeded"}', '{"a":' * 3000, "{" * 100_000):
        assert read(nothing, "") is read(nothing, "response") is None
    assert read(json.dumps({"other": said}), "response") is None
    assert read('{"findings": "none"}', "") is None


def test_an_opinion_is_never_an_error_and_a_line_needs_a_file() -> None:
    item = {"severity": "error", "message": "a\n\x1b[31mb", "line": 3}
    answer = read(json.dumps({"findings": [item, {**item, "file": "f", "line": True}]}), "")
    assert answer is not None
    assert [(f["severity"], f["file"], f["line"]) for f in answer["findings"]] == [
        ("warning", None, None),
        ("warning", "f", None),
    ]


BEFORE = [f"line {number}" for number in range(1, 40)]
AFTER = [*BEFORE[:9], "total = price", "x", *BEFORE[10:20], "x", *BEFORE[21:]]


def test_findings_are_verified_by_the_lines_that_they_quote(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "root")
    shop = RepoBuilder(tmp_path / "shop")
    shop.commit(
        {"a.py": "\n".join(BEFORE), "old.py": "if safe:\n", "moved.py": "\n".join(BEFORE), "b.bin": "a\0b"}
    )
    change = {"old.py": None, "moved.py": None, "b.bin": "a\0c", "b.py": "one()\n\ttwo( 1 )\n@@ -1 +1 @@\n"}
    shop.pull(1, {**change, "a.py": "\n".join(AFTER), "to.py": "\n".join([*BEFORE[:-1], "line 40"])})
    bench.prepare(shop)
    job = Job.load(paths.JobPaths(bench.root, session_of(1)))

    def verified(file: str | None, line: int | None, quote: str) -> tuple[str | None, int | None, str | None]:
        item = {"severity": "warning", "message": "m", "file": file, "line": line, "quote": quote}
        [found] = verify(job, read_findings([item]))
        assert (found["severity"], found["verified"]) == (
            ("note", False) if found["why_not"] else ("warning", True)
        )
        return found["file"], found["line"], found["why_not"]

    # The quote decides: agents miscount lines, keep the sign of the diff, and name the file in the worktree.
    assert verified("a.py", 10, "total = price") == ("a.py", 10, None)
    assert verified("a.py", 300, "+  total =  price") == ("a.py", 10, None)
    assert verified(f"{job.paths.worktree}/./b.py".replace("/./", "/"), None, "two( 1 )") == ("b.py", 2, None)
    assert verified("./b.py", 1, "@@ -1 +1 @@") == ("b.py", 3, None)
    assert verified("a.py", 22, "x") == ("a.py", 22, None)
    assert verified("to.py", 39, "line 40") == ("to.py", 39, None)
    # What the change removes has no line on the head.
    assert verified("old.py", 1, "if safe:") == ("old.py", None, None)
    assert verified("a.py", 10, "line 10") == ("a.py", None, None)
    for file, line, quote, why in (
        ("a.py", 5, "x", "more than once"),
        ("a.py", 10, "", "quotes no line"),
        ("a.py", 10, "total = price\nx", "not in the diff of the file"),
        ("a.py", 1, "line 1", "not in the diff of the file"),
        ("to.py", 1, "line 1", "not in the diff of the file"),
        ("b.bin", 1, "a", "not in the diff of the file"),
        ("moved.py", 1, "line 1", "does not touch"),
        ("../a.py", 10, "total = price", "does not touch"),
        (None, None, "total = price", "does not touch"),
    ):
        told = verified(file, line, quote)
        assert told[:2] == (file, line)
        assert why in (told[2] or "")


def read_findings(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = read(json.dumps({"findings": items}), "")
    assert answer is not None
    return list(answer["findings"])


def test_a_template_becomes_exactly_its_files(root: RunnerRoot, tmp_path: Path) -> None:
    template = root.path / "agent-config"
    (template / ".agent" / "extensions").mkdir(parents=True)
    (template / ".agent" / "extensions" / "evil").write_text("evil")
    (template / ".agent" / "settings.json").symlink_to(tmp_path / "elsewhere")
    (template / "work").symlink_to(tmp_path)
    root.lines("profile", spec={"name": "agent-config", "files": FILES})
    found = {p.relative_to(template).as_posix(): p.read_text() for p in template.rglob("*") if p.is_file()}
    assert found == FILES
    assert not any(path.is_symlink() for path in template.rglob("*"))
    assert list(tmp_path.iterdir()) == []
    modes = {path.stat().st_mode & 0o777 for path in template.rglob("*") if path.is_file()}
    assert modes == {0o444}


@pytest.mark.parametrize("spec", [{"name": "../x", "files": {}}, {"name": "x", "files": {"../y": ""}}, {}])
def test_a_profile_stays_below_its_directory(root: RunnerRoot, spec: dict[str, object]) -> None:
    assert root.call("profile", spec=spec).returncode == 64


def test_a_copy_is_fresh_but_for_what_is_kept(tmp_path: Path) -> None:
    template, home = tmp_path / "template", tmp_path / "home"
    profile.make_template(template, FILES)
    digest = Profile("p", FILES).digest
    profile.copy(template, home, [".agent/tmp"], digest)
    (home / ".agent" / "tmp").mkdir()
    (home / ".agent" / "tmp" / "session").write_text("mine")
    (home / ".agent" / "settings.json").write_text("evil")
    (home / ".bashrc").write_text("evil")
    profile.copy(template, home, [".agent/tmp"], digest)
    found = {p.relative_to(home).as_posix(): p.read_text() for p in home.rglob("*") if p.is_file()}
    assert found == {**FILES, ".agent/tmp/session": "mine"}
    os.chmod(template / ".agent", 0o700)
    (template / ".agent" / "more").write_text("evil")
    with pytest.raises(RunnerError, match="not what Offload put there"):
        profile.copy(template, home, [], digest)
