"""What agents say, read; and profiles, made and copied."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.agents.base import Profile
from jobs.remote.offload_runner.commands import profile
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.protocol import Plan, Task
from jobs.remote.offload_runner.steps.agent import read
from jobs.remote.offload_runner.steps.agent_events import GeminiEvents
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
    assert read(said) == read(said + said) == answer
    quoting = 'The default {} of a.py, and {"findings": []} there: ' + said
    assert read(quoting) == read(said + ' as in {"findings": []}') == answer
    for nothing in ("nothing", "{}", '{"error": "quota exceeded"}', '{"a":' * 3000, "{" * 100_000):
        assert read(nothing) is None
    assert read('{"findings": "none"}') is None


def test_an_opinion_is_never_an_error_and_a_line_needs_a_file() -> None:
    item = {"severity": "error", "message": "a\n\x1b[31mb", "line": 3}
    answer = read(json.dumps({"findings": [item, {**item, "file": "f", "line": True}]}))
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
    answer = read(json.dumps({"findings": items}))
    assert answer is not None
    return list(answer["findings"])


def events(*items: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


INIT = {"type": "init", "session_id": "86229c21", "model": "gemini-2.5-flash"}
ASKED = {"type": "message", "role": "user", "content": '{"findings": []}'}
SAID = {"type": "message", "role": "assistant", "content": "wörk ", "delta": True}
STATS = {"input_tokens": 2400, "output_tokens": 68, "cached": 400}
ENDED = {"type": "result", "status": "success", "stats": STATS}


@pytest.mark.parametrize(
    ("output", "problem", "text"),
    [
        (events(INIT, ASKED, SAID, SAID, ENDED), "", "wörk wörk "),
        (b"Warning: no colour\n[1]\n" + events(SAID, ENDED), "", "wörk "),
        (events(INIT, SAID, ENDED).rstrip(), "", "wörk "),
        (events(INIT, SAID), "Its events broke off.", "wörk "),
        (b"", "Its events broke off.", ""),
        (
            events(
                SAID,
                {"type": "error", "severity": "error", "message": "No finish reason."},
                {**ENDED, "status": "error"},
            ),
            "No finish reason.",
            "wörk ",
        ),
        (
            events(
                {"type": "result", "status": "error", "error": {"message": "Daily quota.\nWait."}, "stats": 3}
            ),
            "Daily quota. Wait.",
            "",
        ),
        (events({"type": "result", "status": "error", "error": "x"}), "It does not say why.", ""),
        (events({**SAID, "content": "x" * (4 << 20)}, SAID, ENDED), "It said more than 4 MiB.", None),
        (b"x\n" * 20_000 + events(ENDED), "It wrote more than 10000 lines that are no events.", ""),
        (b"x" * (9 << 20), "It wrote a line of more than 8 MiB.", ""),
        (events({"type": "x", "y": "x" * 100_000}) * 700, "It wrote more than 64 MiB.", ""),
    ],
)
def test_geminis_events_are_read_as_they_come(output: bytes, problem: str, text: str | None) -> None:
    told: list[str] = []
    heard = GeminiEvents(told.append)
    step = 7 if len(output) < 2000 else 60_000
    for start in range(0, len(output), step):
        heard.feed(output[start : start + step])
    heard.end()
    assert heard.problem == problem
    assert text is None or heard.text == text
    assert heard.is_over == ("more than" in problem)
    assert len(told) <= 500
    if output.startswith(events(INIT)) and not problem:
        tokens = {"input": 2400, "output": 68, "cached": 400}
        about = {"session": "86229c21", "model": "gemini-2.5-flash", "tool_calls": 0, "tokens": tokens}
        assert heard.about == {**about, "cost": None}


def test_tool_calls_are_told_as_they_happen() -> None:
    told: list[str] = []
    heard = GeminiEvents(told.append)
    use = {
        "type": "tool_use",
        "tool_name": "read_file",
        "parameters": {"file_path": "a\n\x1b[31m" + "b" * 300},
    }
    heard.feed(
        events(use, {"type": "tool_result", "status": "error", "error": {"message": "Denied by policy."}})
    )
    assert told[0].startswith('  read_file {"file_path": "a')
    assert len(told[0]) < 210
    assert told[1] == "  That failed: Denied by policy."
    assert heard.about["tool_calls"] == 1


ANSWER = '{"summary": "s", "findings": []}'


@pytest.mark.parametrize(
    ("output", "script", "code", "said"),
    [
        # Outputs stay apart, and what the agent leaves behind is not waited for.
        (
            "text",
            f"printf '%s' '{ANSWER[:9]}'; echo oops >&2; printf '%s' '{ANSWER[9:]}'; sleep 999 &",
            0,
            "oops",
        ),
        ("text", "yes", 1, "sh failed: It wrote more than 4 MiB."),
        ("text", "yes >&2", 1, "sh failed: It wrote more than 8 MiB to stderr."),
        ("gemini", "tr '\\0' x </dev/zero", 1, "sh failed: It wrote a line of more than 8 MiB."),
        (
            "gemini",
            "echo no key >&2; exit 41",
            1,
            "no key\n\nsh ended with exit code 41: Its events broke off.",
        ),
    ],
)
def test_an_agent_that_never_ends_is_ended(
    root: RunnerRoot, tmp_path: Path, output: str, script: str, code: int, said: str
) -> None:
    done, wrote = call_agent(root, tmp_path, ["sh", "-c", script], output=output)
    assert done.returncode == code, done
    assert said in done.stdout.decode()
    assert len(done.stdout) < 5 << 20
    assert wrote == (code == 0)


def test_an_agent_that_is_too_old_is_not_given_the_change(root: RunnerRoot, tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_text(f"#!/bin/sh\necho $* >>{tmp_path}/called; echo 0.60.9-nightly.2\n")
    program.chmod(0o755)
    done, wrote = call_agent(root, tmp_path, [str(program)], oldest=[0, 61])
    assert (done.returncode, wrote) == (127, False)
    assert (
        "version 0.61 or newer is needed, and it says '0.60.9-nightly.2'. `offload doctor"
        in done.stdout.decode()
    )
    assert (tmp_path / "called").read_text() == "--version\n"


def test_what_an_agent_does_is_in_the_journal_at_most_once_a_second(root: RunnerRoot) -> None:
    code = """
import json, os, time
path = os.environ["OFFLOAD_ROOT"] + "/jobs/" + os.environ["OFFLOAD_SESSION"] + "/agent-state.json"
def say(state, detail):
    with open(path + ".new", "w") as file:
        json.dump({"state": state, "detail": detail, "since": "t", "evidence": "e" * 900}, file)
    os.replace(path + ".new", path)
say("none of ours", "")
time.sleep(0.5)
for number in range(300):
    say("tool", "a%d" % number)
    time.sleep(0.005)
say("done", "")
"""
    task = Task("agent", "agent", argv=[sys.executable, "-c", code], agent="x", evidence=False)
    directory = root.job([task])
    (directory / "agent-state.json").write_text('{"state": "failed", "detail": "of an earlier start"}')
    assert root.run().returncode == 0
    said = [(event["state"], event["detail"]) for event in root.kinds("agent_state")]
    assert [state for state, _ in said] == ["tool"] * (len(said) - 1) + ["done"]
    assert 1 < len(said) < 100
    assert {len(event["evidence"]) for event in root.kinds("agent_state")} == {500}


def call_agent(root: RunnerRoot, tmp_path: Path, argv: list[str], **fields: Any) -> tuple[Any, bool]:
    """Run the step in a job of its own; return how it ended, and whether there is an `agent.json`."""
    bench = Bench(root.path)
    bench.prepare(RepoBuilder(tmp_path / "shop").commit({"a": "1"}).pull(1, {"a": "2"}))
    call: dict[str, Any] = {
        "name": "generic",
        "argv": argv,
        "env": {},
        "secrets": [],
        "prompt": "",
        "profile": None,
    }
    task = Task("agent", "agent", role="agent", argv=["x"], outputs={"agent": {**call, **fields}})
    (bench.job_dir() / "plan.json").write_text(Plan(job={}, tasks=[task]).dumps())
    done = root.call("step", "agent", "--session", session_of(1))
    return done, (bench.job_dir() / "agent.json").exists()


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
