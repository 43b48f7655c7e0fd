"""What agents say, read; and profiles, made and copied."""

import json
import os
from pathlib import Path

import pytest

from jobs.agents.base import Profile
from jobs.remote.offload_runner.commands import profile
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.steps.agent import read
from tests.support.runner_root import RunnerRoot

FILES = {".agent/settings.json": "{}\n", "work/.env": ""}


def test_an_answer_is_found_in_what_surrounds_it() -> None:
    said = 'Sure!\n```json\n{"summary": "s", "findings": [{"message": "m"}, "x", {"message": ""}]}\n```'
    answer = {
        "summary": "s",
        "findings": [{"severity": "warning", "message": "m", "file": None, "line": None}],
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
