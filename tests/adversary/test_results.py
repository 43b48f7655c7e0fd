"""Test reports that a change's code prepared: to hang, crash or fill the runner, or to hide a failure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.remote.offload_runner.files.paths import job_paths, write_atomically
from jobs.remote.offload_runner.steps.agent import read as parse_answer
from jobs.remote.offload_runner.steps.difference import compare
from jobs.remote.offload_runner.steps.evidence import read_evidence
from jobs.remote.offload_runner.steps.findings import Compared, Evidence, Outcome
from jobs.remote.offload_runner.steps.judge import judge
from jobs.remote.offload_runner.steps.problems import read_problems
from jobs.remote.offload_runner.steps.proven import about_tests
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.results import Case, Results, collect
from jobs.remote.offload_runner.steps.sources import weakened
from jobs.remote.offload_runner.steps.trees import Run
from tests.adversary.limits import MIB, bounded
from tests.support.bench import Bench, session_of
from tests.support.git_repos import RepoBuilder

DOTS = b"@." * 400 + b"\n"
CASE = b'<testsuite><testcase classname="a" name="%s" time="%s" file="t.py">%s</testcase></testsuite>'


def jest(**test: object) -> bytes:
    return json.dumps({"testResults": [{"name": "a.js", "assertionResults": [test]}]}).encode()


def go(*events: dict[str, object]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def deep(levels: int) -> bytes:
    title = b"[" * levels + b"]" * levels
    return b'{"testResults":[{"assertionResults":[{"status":"failed","title":%s}]}]}' % title


REPORTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "xml: endless depth": ("a.xml", lambda: b"<testsuite>" * 500_000),
    "xml: entities": ("a.xml", lambda: b'<!DOCTYPE a [<!ENTITY b "c">]>' + CASE % (b"a", b"1", b"&b;")),
    "xml: entities in UTF-16": ("a.xml", lambda: '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16")),
    "xml: a codec that is none of text": ("a.xml", lambda: b'<?xml version="1.0" encoding="bz2"?><a/>'),
    "xml: megabytes of a name": ("a.xml", lambda: CASE % (b"n" * (8 * MIB), b"1", b"<failure/>")),
    "xml: megabytes of a message": (
        "a.xml", lambda: CASE % (b"n", b"1", b"<failure message='" + b"m\t" * (4 * MIB) + b"'/>")),
    "xml: infinite time": ("a.xml", lambda: CASE % (b"n", b"1e999", b"<failure/>")),
    "xml: no number": ("a.xml", lambda: CASE % (b"n", b"nan", b"<failure/>")),
    "xml: a million tests": ("a.xml", lambda: b"<a>" + b"<testcase name='a'><failure/></testcase>" * 80_000),
    "xml: long reports of failures": (
        "a.xml", lambda: b"<a>" + b"<testcase name='a'><failure>%s</failure></testcase>" % (DOTS * 8) * 500),
    "json: endless depth": ("a.json", lambda: b"[" * (8 * MIB)),
    "json: deep values": ("a.json", lambda: deep(900)),
    "json: deeper values": ("a.json", lambda: deep(60_000)),
    "json: many small values": ("a.json", lambda: b'{"testResults":[' + b"[]," * (10 * MIB) + b"[]]}"),
    "json: a long number": ("a.json", lambda: b'{"testResults":' + b"9" * (4 * MIB) + b"}"),
    "json: a number too large": ("a.json", lambda: jest(status="failed", duration=10**400)),
    "json: infinite time": ("a.json", lambda: jest(status="failed", duration=float("inf"))),
    "json: half characters": ("a.json", lambda: jest(status="failed", title="\ud800\udc00 \udfff")),
    "json: megabytes of a status": ("a.json", lambda: jest(status="s" * (4 * MIB))),
    "json: wrong types": (
        "a.json", lambda: jest(status="failed", title=[1], failureMessages=[{}], ancestorTitles=5)),
    "json: no object": ("a.json", lambda: b"5"),
    "go: a number too large": (
        "a.json", lambda: go({"Action": "fail", "Test": "T", "Elapsed": 10**400}, {"Action": "run"})),
    "go: many tests that never end": (
        "a.jsonl", lambda: b"".join(b'{"Action":"output","Test":"%d"}\n' % n for n in range(60_000))),
    "go: endless output": (
        "a.jsonl", lambda: go({"Action": "output", "Test": "T", "Output": "x\n"}) * 100_000),
    "tap: a long plan": ("a.tap", lambda: b"1.." + b"9" * 5000 + b"\nnot ok 1 - a\n"),
    "tap: millions of tests": ("a.tap", lambda: b"TAP version 13\n" + b"not ok\n---\n" * 15_000),
    "tap: only ends of lines": ("a.tap", lambda: b"1..2\nok\n" + b"\n" * (2 * MIB)),
    "tap: no such character": ("a.tap", lambda: b"1..1\nnot ok 1 - \xff\xfe\x00\x1b]0;x\x07\n"),
    "nothing but zeros": ("a.xml", lambda: b"\0" * MIB),
}  # fmt: skip

UNITTEST = b"t (m.T) ... ok\n" + b"-" * 70 + b"\n"
LOGS: dict[str, bytes] = {
    "cargo: failures without an end": b"---- a\n" * 300_000 + b"test result: ok\n",
    "go: a time that is none": b"--- FAIL: TestA (1.2.3s)\nFAIL\tp\t0.01s\n",
    "go: a long time": b"--- FAIL: TestA (" + b"9" * 5000 + b"s)\nFAIL\tp\t0.01s\n",
    "mocha: a long count": b"  " + b"9" * 5000 + b" passing (1ms)\n",
    "mocha: a long time": "  ✔ a ({}ms)\n  1 passing (1ms)\n".format("9" * 5000).encode(),
    "mocha: many failures of another count":
        "  ✔ a\n".encode() * 50_000 + b"  1 passing (1s)\n" + b"".join(b"  %d) a\n" % n for n in range(9999)),
    "unittest: blocks without an end": (b"=" * 70 + b"\nERROR: a (b)\n") * 10_000 + UNITTEST,
    "unittest: names without an end": b"a (b)\n" * 100_000 + UNITTEST,
    "tap: spaces": b"1..1\nok" + b" " * (4 * MIB) + b"\n",
}  # fmt: skip


def check(found: Results) -> None:
    """Fail unless everything that is kept is short, of one line, and can be written anywhere."""
    data = json.dumps(found.to_json(), ensure_ascii=False, allow_nan=False)
    data.encode("utf-8")
    assert len(data) < 64 * MIB
    assert len(found.notes) <= 60
    for text in (
        *found.notes,
        *(
            part
            for case in found.cases[:1000]
            for part in (case.name, case.suite, case.file, case.message, *case.lines)
        ),
    ):
        assert len(text) <= 600
        assert all(character.isprintable() or character == "\t" for character in text), text


def read_report(folder: Path, name: str, data: bytes) -> Results:
    (folder / "results").mkdir()
    (folder / "results" / name).write_bytes(data)
    found: Results = bounded(collect, folder / "results", folder, [], None)
    return found


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_costs_little_and_never_becomes_a_pass(tmp_path: Path, name: str) -> None:
    file, make = REPORTS[name]
    found = read_report(tmp_path, file, make())
    check(found)
    # A failure is in the results, or they are said to be incomplete.
    assert found.failing or not found.complete or not found.cases
    assert found.failing or found.notes or not found.cases


@pytest.mark.parametrize("name", LOGS)
def test_a_log_costs_little_and_never_crashes(tmp_path: Path, name: str) -> None:
    (tmp_path / "log").write_bytes(LOGS[name])
    check(bounded(collect, tmp_path, tmp_path, [], tmp_path / "log"))


def _endless(path: Path) -> None:
    path.write_bytes(CASE % (b"n", b"1", b"<failure/>"))
    os.truncate(path, 3 << 30)


def _elsewhere(path: Path) -> None:
    path.symlink_to(path.parent.parent / "secret.xml")


@pytest.mark.parametrize("prepare", [_endless, _elsewhere, os.mkfifo], ids=["sparse", "link", "fifo"])
def test_a_report_that_is_no_small_regular_file_is_a_note(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    (tmp_path / "secret.xml").write_bytes(CASE % (b"secret", b"1", b""))
    (tmp_path / "results").mkdir()
    prepare(tmp_path / "results" / "a.xml")
    found = bounded(collect, tmp_path / "results", tmp_path, [], None)
    assert (found.cases, found.complete) == ((), False)
    assert "a.xml could not be read" in found.notes[0]


def test_a_results_directory_that_became_a_link_names_nothing_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "secret.xml").write_bytes(CASE % (b"secret", b"1", b""))
    (tmp_path / "results").symlink_to(tmp_path / "host")
    assert "secret" not in str(collect(tmp_path / "results", tmp_path, [], None))


def test_more_reports_than_are_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for number in range(2100):
        (tmp_path / "results" / f"{number:04}.xml").write_bytes(CASE % (b"n", b"1", b"<failure/>"))
    found = bounded(collect, tmp_path / "results", tmp_path, [], None)
    assert not found.complete
    assert "Only the first 2000 of 2100 test reports were read." in found.notes


def test_names_of_reports_control_nothing(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    names = [b"\x1b]0;x\x07.xml", b"a\nVerdict: PASS.xml", b"\xff.xml", "\u202egpj.xml".encode()]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path / "results") + b"/" + name)).write_bytes(b"")
    found = collect(tmp_path / "results", tmp_path, [], None)
    assert len(found.notes) == len(names)
    check(found)


# What is made of results


def run(outcome: str, count: int, **fields: object) -> Results:
    cases = tuple(Case(name=f"t{number}", outcome=outcome, **fields) for number in range(count))  # type: ignore[arg-type]
    return Results(cases, source="JUnit XML")


def test_many_failing_tests_are_compared_in_little_time() -> None:
    head, base = run("failed", 15_000, file="a.py"), run("passed", 15_000, file="a.py")
    found = bounded(compare, head, base, [base, base])
    assert len(found.flaky) == 15_000
    assert len(bounded(compare, head, base).broken) == 15_000


def test_many_files_that_cannot_be_loaded_are_compared_in_little_time(tmp_path: Path) -> None:
    data = b"".join(
        b'<testcase classname="" name="tests.t%d"><error message="collection failure">E</error></testcase>'
        % n
        for n in range(3_000)
    )
    found = read_report(tmp_path, "a.xml", b"<testsuite>" + data + b"</testsuite>")
    assert not found.complete
    bounded(compare, found, run("passed", 10_000, suite="tests.a"))


def judged(exit_code: int, results: Results, tail: str = "", base: Run | None = None) -> str:
    state = "failed" if exit_code else "succeeded"
    task = Outcome("test", "pytest", "test", state, exit_code=exit_code, tail=tail)
    return judge(Evidence([task], {"test": results}, {"test": Compared(base)})).verdict


def test_a_success_whose_results_cannot_be_read_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "b.xml").write_bytes(CASE % (b"n", b"1", b""))
    assert judged(0, collect(tmp_path / "results", tmp_path, [], None)) == "pass"
    os.mkfifo(tmp_path / "results" / "a.xml")
    assert judged(0, collect(tmp_path / "results", tmp_path, [], None)) == "needs_work"
    (tmp_path / "results" / "b.xml").unlink()
    assert judged(0, collect(tmp_path / "results", tmp_path, [], None)) == "needs_work"


@pytest.mark.parametrize("results", [Results(), Results((Case("t", "passed"),), source="JUnit XML")])
def test_a_failure_is_none_the_less_for_what_its_last_lines_say(results: Results) -> None:
    tail = "9" * 5000 + " failed\n" + "a.py:" + "9" * 5000 + ": x\n"
    assert judged(1, results, tail) == "fail"
    assert judged(1, results, tail, Run(0, 1.0, results=results)) == "fail"


@pytest.mark.parametrize(
    "line",
    ["a.py:" + "9" * 5000 + ": m", "a.ts(" + "9" * 5000 + ",1): m", "a." * 500_000 + ":1: m", " " * MIB + "x",
     "--> a:" + "9" * 5000, "Diff in a:" + "9" * 5000, ("a.py\n" + "  1:1  error  m\n") * 20_000],
    ids=["line", "tsc", "dots", "spaces", "arrow", "rustfmt", "many"],
)  # fmt: skip
def test_what_a_checker_prints_costs_little(line: str) -> None:
    problems = bounded(read_problems, line, "/tree")
    assert len(problems) <= 5000
    assert all(len(one.file) <= 400 and len(one.message) <= 400 for one in problems)


# The change's own test files


@pytest.mark.parametrize(
    ("path", "unit"),
    [("a.rs", "#[test"), ("a.rs", "#[test]\n"), ("A.java", "@Test "),
     ("test_a.py", "def test_a():\n" + "@a\n" * 80_000), ("test_a.py", "def test_a():\n"),
     ("a.test.js", "it('a' "), ("a.test.js", "it('a',\n"), ("a_test.go", "func TestA("), ("test_a.py", " "),
     ("a.test.js", "it('a', " + "a/* " * 50_000 + "*/"), ("a.test.js", "it('a', " + "expect( " * 60),
     ("test_a.py", "def test_a():\n" + "\"\"\" '''" * 20_000),
     ("test_a.py", "def test_a():\n" + "  try:\n  except:\n" * 9_000),
     ("test_a.py", "def test_a():\n" + ("assert " + "a or " * 99 + "\n") * 200)],
    ids=["rust", "rust attributes", "java", "decorators", "python", "js", "js lines", "go", "spaces",
         "comments", "expect", "strings", "tries", "or"],
)  # fmt: skip
def test_a_test_file_costs_little_to_read(path: str, unit: str) -> None:
    text = unit * (MIB // 8 // len(unit) + 1)
    bounded(weakened, [(path, "", text)], seconds=15)


def test_a_test_file_that_is_too_large_to_be_compared_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "root")
    test = "def test_%s():\n    assert f()\n"
    shop = RepoBuilder(tmp_path / "shop").commit(
        {"tests/test_a.py": test % "a", "tests/test_b.py": test % "b", "tests/data.json": "{}"}
    )
    weaker = "def test_b():\n    pass\n"
    shop.pull(
        1,
        {"tests/test_a.py": "x = 1\n" * 400_000, "tests/test_b.py": weaker, "tests/data.json": "x" * 2 * MIB},
    )
    bench.prepare(shop)
    evidence = read_evidence(Job.load(job_paths(bench.root, session_of(1))))
    assert evidence.weakened == [
        {"kind": "assertions", "file": "tests/test_b.py", "tests": ["test_b (1 to 0)"]},
        {"kind": "unread", "file": "tests/test_a.py", "tests": []},
    ]
    told = [finding.message for finding in about_tests(evidence) if finding.severity == "warning"]
    assert any("tests in tests/test_a.py is not known" in message for message in told)


# What a model was talked into


def test_an_answer_of_an_agent_can_always_be_written(tmp_path: Path) -> None:
    odd = "\ud800 \udfff \x1b[2J\u202e" + "x" * MIB
    items = [{"message": odd, "file": odd, "quote": odd, "line": 10**400}, {"message": [odd]}, {"message": 5}]
    answer = parse_answer(json.dumps({"summary": odd, "findings": items}))
    assert answer is not None
    assert len(answer["findings"]) == 1
    text = json.dumps(answer, ensure_ascii=False)
    assert text.encode()
    assert len(text) < 20_000
    assert answer["findings"][0]["line"] is None
    assert all(answer["findings"][0][key].isprintable() for key in ("message", "file", "quote"))
    write_atomically(tmp_path / "assessment.md", f"{odd}\nend\n")
    assert (tmp_path / "assessment.md").read_text().endswith("\nend\n")
