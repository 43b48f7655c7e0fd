"""Test results from what test runners really print and write: names, outcomes, messages, places."""

# ruff: noqa: E501 - what test runners print is not wrapped
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.remote.offload_runner.steps.difference import compare
from jobs.remote.offload_runner.steps.problems import Problem, missing_tool, new_problems, read_problems
from jobs.remote.offload_runner.steps.results import Case, Results, collect, documents, junit, lines
from jobs.remote.offload_runner.steps.results.collect import FILE_LIMIT
from jobs.remote.offload_runner.steps.results.model import Report
from jobs.remote.offload_runner.steps.sources import changes_inline_tests, is_source, is_test, weakened

PYTEST = """<?xml version="1.0"?><testsuites><testsuite name="pytest">
<testcase classname="" name="tests.test_b" file="tests/test_b.py"><error message="collection failure">ImportError
E   ModuleNotFoundError: No module named 'nope'</error></testcase>
<testcase classname="tests.test_a.TestX" name="test_fail" file="tests/test_a.py" line="2" time="0.020">
<failure message="assert 1 == 2">
    def test_fail(self):
&gt;       assert x == 2
E       assert 1 == 2

tests/test_a.py:5: AssertionError</failure></testcase>
<testcase classname="tests.test_a" name="test_p[1]" file="tests/test_a.py" line="5" time="0.002" />
<testcase classname="tests.test_a" name="test_xf" file="tests/test_a.py" line="7"><skipped type="pytest.xfail"/></testcase>
<testcase classname="tests.test_a" name="test_s" file="tests/test_a.py" line="9"><skipped type="pytest.skip"
 message="no">tests/test_a.py:10: no</skipped></testcase>
<testcase classname="tests.test_a" name="test_e" file="tests/test_a.py" line="13"><error
 message="failed on setup with &quot;ValueError: x&quot;">E   ValueError: x

tests/test_a.py:13: ValueError</error></testcase></testsuite></testsuites>"""


def read(tmp_path: Path, name: str, text: str | bytes) -> Results:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return collect(folder, tmp_path, [], None)


def outcomes(results: Results) -> dict[str, str]:
    return {case.title: case.outcome for case in results.cases}


def test_pytest(tmp_path: Path) -> None:
    results = read(tmp_path, "pytest.xml", PYTEST)
    assert outcomes(results) == {
        "tests/test_b.py": "error",
        "tests/test_a.py::TestX::test_fail": "failed",
        "tests/test_a.py::test_p[1]": "passed",
        "tests/test_a.py::test_xf": "xfail",
        "tests/test_a.py::test_s": "skipped",
        "tests/test_a.py::test_e": "error",
    }
    unloaded, failed = results.failing[0], results.failing[1]
    assert (unloaded.whole_file, unloaded.message) == (True, "ModuleNotFoundError: No module named 'nope'")
    assert (failed.message, failed.at_file, failed.at_line) == ("assert 1 == 2", "tests/test_a.py", 5)
    assert results.failing[2].message == "ValueError: x"


def test_an_error_of_pytest_itself_is_no_test(tmp_path: Path) -> None:
    text = """<testsuites><testsuite><testcase classname="pytest" name="internal"><error message="internal error">
    raise ValueError()
ValueError: x</error></testcase></testsuite></testsuites>"""
    results = read(tmp_path, "pytest.xml", text)
    assert (results.cases, results.complete) == ((), False)
    assert results.notes == ("pytest ended with an error of its own: ValueError: x",)


def test_node_and_vitest(tmp_path: Path) -> None:
    text = f"""<testsuites><testsuite name="outer"><testcase name="adds" classname="test"><failure message="1 == 2">
      at TestContext.&lt;anonymous> ({tmp_path}/a.test.js:2:51)
      at Test.run (node:internal/test_runner/test:796:25)</failure></testcase></testsuite>
    <testcase name="todo" classname="test"><skipped type="todo"/><failure message="no"/></testcase>
    <testsuite name="v.test.ts"><testcase classname="v.test.ts" name="outer &gt; ok"/></testsuite></testsuites>"""
    results = read(tmp_path, "node.xml", text)
    assert outcomes(results) == {"outer > adds": "failed", "todo": "xfail", "v.test.ts: outer > ok": "passed"}
    assert (results.cases[0].at_file, results.cases[0].at_line) == ("a.test.js", 2)


def test_jest_mocha_and_go_json(tmp_path: Path) -> None:
    jest = {"testResults": [
        {"name": f"{tmp_path}/a.test.js", "status": "failed", "assertionResults": [
            {"ancestorTitles": ["outer"], "title": "adds", "status": "failed", "duration": 16,
             "failureMessages": [f"Error: toBe\\n\\nExpected: 2\\nReceived: 1\\n    at Object.x ({tmp_path}/a.test.js:1:56)"]},
            {"ancestorTitles": [], "title": "later", "status": "todo", "failureMessages": []}]},
        {"name": f"{tmp_path}/b.test.js", "status": "failed", "assertionResults": [], "message": "SyntaxError: no"},
    ]}  # fmt: skip
    results = read(tmp_path, "jest.json", json.dumps(jest).replace("\\\\n", "\\n"))
    assert [(case.title, case.outcome, case.whole_file) for case in results.cases] == [
        ("a.test.js: outer > adds", "failed", False),
        ("a.test.js: later", "xfail", False),
        ("b.test.js", "error", True),
    ]
    assert results.cases[0].message == "Error: toBe: Expected: 2, Received: 1"
    assert (results.cases[0].at_file, results.cases[0].at_line) == ("a.test.js", 1)
    report = Report()
    go = [
        {"Action": "output", "Package": "x/y", "Test": "TestA", "Output": "    a_test.go:9: got 0\n"},
        {"Action": "fail", "Package": "x/y", "Test": "TestA", "Elapsed": 0.1},
        {"Action": "pass", "Package": "x/y", "Test": "TestB", "Elapsed": 0},
        {"Action": "fail", "Package": "x/y"},
        {"Action": "fail", "Package": "x/broken"},
    ]
    documents.parse("\n".join(map(json.dumps, go)).encode(), report)
    assert [(case.name, case.outcome, case.message) for case in report.cases] == [
        ("TestA", "failed", "got 0"), ("TestB", "passed", ""), ("x/broken", "error", ""),
    ]  # fmt: skip


LIBTEST = """
     Running unittests src/lib.rs (target/debug/deps/demo-83)
test tests::ign ... ignored
test tests::ok ... ok
test tests::bad ... FAILED
test tests::pan - should panic ... ok

failures:

---- tests::bad stdout ----

thread 'tests::bad' (25043) panicked at src/lib.rs:9:21:
assertion `left == right` failed: sum
  left: 4
 right: 5

failures:
    tests::bad

test result: FAILED. 2 passed; 1 failed; 1 ignored
"""
UNITTEST = """test_a (u.A.test_a)
Doc line. ... ok
test_f (u.A.test_f) ... FAIL
test_s (u.A.test_s) ... skipped 'why'
test_x (u.A) ... expected failure

======================================================================
FAIL: test_f (u.A.test_f)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "tests/u.py", line 5, in test_f
    def test_f(self): self.assertEqual(1, 2)
AssertionError: 1 != 2

----------------------------------------------------------------------
Ran 4 tests in 0.002s

FAILED (failures=1)
"""
SUBTESTS = """test_many (u.A.test_many) ...\x20
  test_many (u.A.test_many) (n=2) ... FAIL
test_ok (u.A.test_ok) ... ok

======================================================================
FAIL: test_many (u.A.test_many) (n=2)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "tests/u.py", line 7, in test_many
    self.assertEqual(n, 1)
AssertionError: 2 != 1

----------------------------------------------------------------------
Ran 2 tests in 0.010s

FAILED (failures=1)
"""
MOCHA = """

  ✔ top
  outer
    inner
      1) adds
      - skp
      ✔ slow one (137ms)


  2 passing (187ms)
  1 pending
  1 failing

  1) outer
       inner
         adds:

      AssertionError [ERR_ASSERTION]: 1 == 2
      at Context.<anonymous> (test/a.js:2:77)
"""
TAP = """TAP version 13
# one
ok 1 same
not ok 2 differ
  ---
    expected: |-
      2
    actual:   1
  ...
ok 3 later # SKIP why
1..3
"""
GO = """=== RUN   TestOne
--- PASS: TestOne (0.00s)
=== RUN   TestTwo
    price_test.go:9: got 0, want 2
--- FAIL: TestTwo (0.01s)
FAIL
FAIL\tx/y\t0.002s
ok  \tx/z\t0.1s
FAIL
"""
# Without -v, subtests and what they say come after their test.
GO_SUBTESTS = """--- FAIL: TestTable (0.00s)
    --- FAIL: TestTable/two_or_more (0.00s)
        price_test.go:9: got 0, want 2
FAIL
FAIL\tx/y\t0.002s
"""
GO_BUILD = """# x/y/cart [x/y/cart.test]
cart/cart_test.go:6:5: undefined: Sum
FAIL\tx/y/cart [build failed]
ok  \tx/y\t0.1s
FAIL
"""
GO_PANIC = """=== RUN   TestPrice
--- FAIL: TestPrice (0.00s)
panic: no [recovered]
\tpanic: no

goroutine 8 [running]:
x/y.Price(...)
\t/src/price.go:7
FAIL\tx/y\t0.005s
FAIL
"""
LIBTEST_WORKSPACE = """     Running unittests src/lib.rs (target/debug/deps/left-de6e3a1c0e2f4a11)
running 1 test
test two ... ok
test result: ok. 1 passed
     Running unittests src/lib.rs (target/debug/deps/right-de6e3a1c0e2f4a12)
running 1 test
test two ... FAILED
test result: FAILED. 0 passed; 1 failed
   Doc-tests left
running 1 test
test src/lib.rs - price (line 3) ... ok
test result: ok. 1 passed
"""


@pytest.mark.parametrize(
    ("text", "source", "expected", "message"),
    [
        (LIBTEST, "cargo test",
         {"src/lib.rs: tests::ign": "skipped", "src/lib.rs: tests::ok": "passed", "src/lib.rs: tests::bad": "failed",
          "src/lib.rs: tests::pan": "passed"}, "assertion `left == right` failed: sum, left: 4, right: 5"),
        (UNITTEST, "unittest",
         {"u.A > test_a": "passed", "u.A > test_f": "failed", "u.A > test_s": "skipped", "u.A > test_x": "xfail"},
         "AssertionError: 1 != 2"),
        (SUBTESTS, "unittest", {"u.A > test_many": "failed", "u.A > test_ok": "passed"}, "AssertionError: 2 != 1"),
        (MOCHA, "mocha",
         {"top": "passed", "outer > inner > adds": "failed", "outer > inner > skp": "skipped",
          "outer > inner > slow one": "passed"}, "AssertionError [ERR_ASSERTION]: 1 == 2"),
        (TAP, "TAP", {"one > same": "passed", "one > differ": "failed", "one > later": "skipped"},
         "differ: expected 2, actual 1"),
        (GO, "go test", {"x/y > TestOne": "passed", "x/y > TestTwo": "failed"}, "got 0, want 2"),
        (GO_BUILD, "go test", {"x/y/cart": "error"}, "undefined: Sum"),
        (GO_PANIC, "go test", {"x/y > TestPrice": "failed"}, "panic: no"),
        (LIBTEST_WORKSPACE, "cargo test",
         {"src/lib.rs: left > two": "passed", "src/lib.rs: right > two": "failed",
          "doc-tests left > src/lib.rs - price (line 3)": "passed"}, ""),
    ],
)  # fmt: skip
def test_logs(text: str, source: str, expected: dict[str, str], message: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    results = collect(tmp_path / "none", tmp_path, [], log)
    assert (results.source, outcomes(results)) == (source, expected)
    assert [case.message for case in results.failing] == [message]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.xml", b'<!DOCTYPE x [<!ENTITY a "b">]><testsuite><testcase name="&a;"/></testsuite>'),
        (
            "a.xml",
            '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]><t/>'.encode("utf-16"),
        ),
        ("a.xml", b"<testsuite>" * 500),
        ("a.xml", b"<testsuite><testcase name='a'/><testcase name="),
        ("a.xml", b""),
        ("a.json", b"[" * 100_000),
        ("a.json", b'{"testResults": [{"assertionResults": [{"status": 5}]}]}'),
    ],
)
def test_a_report_that_is_refused_or_cut_short_is_incomplete(tmp_path: Path, name: str, data: bytes) -> None:
    results = read(tmp_path, name, data)
    assert not results.complete
    assert results.notes


def test_large_reports_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    with (folder / "large.xml").open("wb") as file:
        file.truncate(FILE_LIMIT + 1)
    (folder / "link.xml").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.xml")
    results = collect(folder, tmp_path, [], None)
    assert (results.cases, results.complete, len(results.notes)) == ((), False, 3)


@given(st.binary(max_size=300), st.sampled_from([junit.parse, documents.parse]))
def test_no_report_raises(data: bytes, parse: object) -> None:
    parse(data, Report())  # type: ignore[operator]


@given(st.text(max_size=200), st.sampled_from([LIBTEST, UNITTEST, MOCHA, TAP, GO]), st.integers(0, 400))
def test_no_log_raises(text: str, log: str, at: int) -> None:
    lines.parse(log[:at] + text + log[at:], Report())


def test_equal_names_are_told_apart_by_their_outcomes(tmp_path: Path) -> None:
    twice = "<t><testcase name='a' classname='x'/><testcase name='a' classname='x'>{}</testcase></t>"
    base = read(tmp_path, "a.xml", twice.format(""))
    (tmp_path / "results/a.xml").write_text(twice.format("<failure message='no'/>"))
    head = collect(tmp_path / "results", tmp_path, [], None)
    assert [case.title for case in compare(head, base).broken] == ["x > a"]


def test_a_failing_subtest_says_why_and_a_panic_hides_tests(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(GO_SUBTESTS)
    (tmp_path / "y").mkdir()
    (tmp_path / "y/price_test.go").touch()
    inner, outer = collect(tmp_path / "none", tmp_path, [], log).failing
    assert (inner.name, inner.message, outer.message) == ("TestTable/two_or_more", "got 0, want 2", "")
    assert (inner.at_file, inner.at_line) == ("y/price_test.go", 9)
    log.write_text(GO_PANIC)
    assert not collect(tmp_path / "none", tmp_path, [], log).complete


def test_tests_that_a_package_hides_are_broken_with_it() -> None:
    base = Results((Case("TestSum", "passed", suite="x/cart"),), source="x")
    head = Results((Case("x/cart", "error", suite="x/cart", whole_file=True),), source="x")
    difference = compare(head, base)
    assert ([case.name for case in difference.broken], difference.not_run) == (["x/cart"], [])


def test_tests_that_a_hook_or_a_crashed_file_hides_are_broken_with_it() -> None:
    """A runner may name no files: the tests that are gone with a file that ended early are its own."""
    base = Results(
        (Case("one", "passed", suite="price > inner"), Case("two", "passed", suite="other")), source="x"
    )
    hook = Case('"before all" hook', "failed", suite="price", whole_file=True)
    difference = compare(Results((hook, base.cases[1]), source="x"), base)
    assert ([case.title for case in difference.broken], difference.removed) == (
        ['price > "before all" hook'],
        [],
    )
    crashed = Case("test/a.test.js", "failed", file="test/a.test.js", whole_file=True)
    assert compare(Results((crashed,), source="x"), base).broken == [crashed]
    assert compare(Results((crashed, *base.cases), source="x"), base).new_failing == [crashed]


@pytest.mark.parametrize(
    ("name", "text", "unit", "message"),
    [
        (
            "node.xml",
            '<t><testcase name="test/a.js" classname="test"><failure message="test failed">[Error]</failure></testcase></t>',
            "test/a.js",
            "",
        ),
        (
            "vitest.xml",
            '<t><testcase name="test/a.js" classname="test/a.js"><failure>Error: no</failure></testcase></t>',
            "test/a.js",
            "Error: no",
        ),
        (
            "surefire.xml",
            '<t><testcase name="" classname="x.ATest"><error message="no"/></testcase></t>',
            "x.ATest > x.ATest",
            "no",
        ),
        (
            "jest.json",
            '{"testResults": [{"name": "a.js", "status": "failed", "assertionResults": [],'
            ' "message": "● Test suite failed to run\\nJest met a token\\nSyntaxError: x"}]}',
            "a.js",
            "SyntaxError: x",
        ),
    ],
)
def test_what_cannot_be_loaded_is_no_test(
    tmp_path: Path, name: str, text: str, unit: str, message: str
) -> None:
    (case,) = read(tmp_path, name, text).failing
    assert (case.whole_file, case.unit, case.message) == (True, unit, message)


def results_of(*told: tuple[str, str, str]) -> Results:
    cases = tuple(Case(name, outcome, file=file, message="no") for file, name, outcome in told)
    return Results(cases, source="x")


@pytest.mark.parametrize(
    ("before", "after", "renamed", "expected"),
    [
        ([("a", "t", "passed")], [("b", "t", "failed")], {"b": "a"}, {"broken": ["t"]}),
        ([("a", "t", "passed")], [("b", "t", "failed")], {}, {"broken": ["t"]}),
        ([("a", "t", "failed")], [("b", "t", "failed")], {"b": "a"}, {"already_failing": ["t"]}),
        ([("a", "t", "failed")], [("b", "t", "passed")], {}, {"fixed": ["t"]}),
        # A doc test of Rust moves with the lines above it.
        ([("a", "t (line 3)", "failed")], [("a", "t (line 5)", "failed")], {},
         {"already_failing": ["t (line 5)"]}),
        # Two tests of a name are not told apart.
        ([("a", "t", "passed"), ("b", "t", "passed")], [("c", "t", "failed")], {}, {"new_failing": ["t"]}),
    ],
)  # fmt: skip
def test_a_test_that_moved_is_compared_with_what_it_was(
    before: list[tuple[str, str, str]],
    after: list[tuple[str, str, str]],
    renamed: dict[str, str],
    expected: dict[str, list[str]],
) -> None:
    difference = compare(results_of(*after), results_of(*before), renamed=renamed)
    lists = ("broken", "new_failing", "already_failing", "fixed")
    found = {name: [case.name for case in getattr(difference, name)] for name in lists}
    assert {name: names for name, names in found.items() if names} == expected
    assert len(difference.removed) == (2 if "new_failing" in expected else 0)


def test_the_name_of_a_failing_test_excuses_no_other_failure() -> None:
    base = Results((Case("red", "failed", file="a", message="old"),), source="x")
    head = Results((Case("red", "failed", file="b", message="new"),), source="x")
    assert [case.name for case in compare(head, base).new_failing] == ["red"]


def test_tests_that_a_broken_file_hides_are_not_removed() -> None:
    base = Results((Case("a", "passed", file="t.py"), Case("b", "passed", file="u.py")), source="x")
    head = Results((Case("t", "error", file="t.py", whole_file=True),), source="x")
    difference = compare(head, base)
    assert [case.name for case in difference.broken] == ["t"]
    assert (difference.removed, [case.name for case in difference.not_run]) == ([], ["b"])


CHECKS = """src/a.py:3:5: E501 line too long
src/b.py:7: error: Incompatible types  [assignment]
src/c.ts(3,5): error TS2322: wrong
/tree/src/d.js
  12:5  error  unused  no-unused-vars
F401 [*] `os` imported but unused
 --> src/e.py:1:8
would reformat src/f.py
src/b.py:8: note: see
"""


def test_problems_of_checkers() -> None:
    assert read_problems(CHECKS, "/tree") == [
        Problem("src/a.py", 3, "E501 line too long"),
        Problem("src/b.py", 7, "error: Incompatible types  [assignment]"),
        Problem("src/c.ts", 3, "error TS2322: wrong"),
        Problem("src/d.js", 12, "error  unused  no-unused-vars"),
        Problem("src/e.py", 1, "F401 [*] `os` imported but unused"),
        Problem("src/f.py", None, "is not formatted"),
    ]
    moved = [Problem("new.py", 9, "E1"), Problem("new.py", 10, "E1")]
    assert new_problems(moved, [Problem("old.py", 1, "E1")], {"new.py": "old.py"}) == moved[1:]


@pytest.mark.parametrize(
    ("output", "tool"),
    [
        ("sh: 1: eslint: not found\n", "eslint"),
        ("/bin/sh: line 1: ruff: command not found", "ruff"),
        ("make: flake8: No such file or directory\nmake: *** [Makefile:2: lint] Error 127", "flake8"),
        ("/usr/bin/python: No module named mypy", "mypy"),
        ("src/a.py:1:1: E1 module not found: x", ""),
    ],
)
def test_a_tool_that_is_missing_behind_another(output: str, tool: str) -> None:
    assert missing_tool(output) == tool


def test_what_a_change_takes_from_tests() -> None:
    old = "def test_a():\n    assert f(1)\n    assert f(2)\n\ndef test_b():\n    assert f(1)\n"
    new = "import pytest\n\n@pytest.mark.skip\ndef test_a():\n    assert f(1)\n"
    assert [(item["kind"], item["tests"]) for item in weakened([("tests/test_a.py", old, new)])] == [
        ("removed", ["test_b"]), ("assertions", ["test_a (2 to 1)"]), ("skipped", []),
    ]  # fmt: skip
    moved = [("tests/test_a.py", old, ""), ("tests/test_c.py", "", old)]
    assert weakened(moved) == []
    helper = "def test_one():\n    assert f(1)\n\n\ndef check():\n    assert f(2)\n"
    assert weakened([("tests/test_a.py", helper, "def test_one():\n    assert f(1)\n")]) == []
    twice = "test('a', () => {\n  t.ok(f(1));\n  t.ok(f(2));\n  t.ok(f(2));\n})"
    assert weakened([("a.test.js", twice, twice.replace("  t.ok(f(2));\n", "", 1))]) == []
    assert weakened([("a.test.js", twice, twice.replace("  t.ok(f(2));\n", ""))])[0]["kind"] == "assertions"
    skipped = "@pytest.mark.skipif(x)\ndef test_z():\n    assert f(1)\n"
    assert weakened([("tests/test_a.py", "def test_b():\n    assert f(1)\n", skipped)]) == [
        {"kind": "skipped", "file": "tests/test_a.py", "tests": []}
    ]
    kept = "def test_b():\n    assert f(1)\n"
    assert weakened([("tests/test_a.py", kept, kept + skipped)]) == []
    assert weakened([("tests/test_n.py", "", skipped)]) == []
    swapped = "@pytest.mark.skip\n" + kept + "def test_new():\n    assert f(1)\n"
    assert [item["kind"] for item in weakened([("tests/test_a.py", kept, swapped)])] == ["skipped"]
    rust = (
        "pub fn a() {}\n#[cfg(test)]\nmod t {\n    #[test]\n    fn b() {\n        assert!(f());\n    }\n}\n"
    )
    ignored = rust.replace("#[test]", "#[test]\n    #[ignore]")
    assert [item["kind"] for item in weakened([("src/lib.rs", rust, ignored)])] == ["skipped"]
    assert changes_inline_tests("src/lib.rs", rust, ignored)
    assert not changes_inline_tests("src/lib.rs", rust, "pub fn c() {}\n" + rust)
    only = [("a.test.js", "it('a', () => { expect(1) })", "it.only('a', () => { expect(1) })")]
    assert [item["kind"] for item in weakened(only)] == ["only"]


def test_what_a_path_is() -> None:
    assert [path for path in ("src/a.py", "tests/utils.py", "a_test.go", "docs/conf.py", "README.md", "lib/x.ts",
                              "a.spec.ts", "setup.py") if is_source(path)] == ["src/a.py", "lib/x.ts"]  # fmt: skip
    assert is_test("tests/data/x.json")
    assert is_test("src/__snapshots__/a.snap")


def test_a_name_with_the_path_of_its_tree_is_the_same_in_another(tmp_path: Path) -> None:
    names = []
    for tree in (tmp_path / "head", tmp_path / "base"):
        log = tmp_path / "log"
        log.write_text(f"TAP version 13\nnot ok 1 - cannot load {tree}/test/a.js\n1..1\n")
        names += [case.name for case in collect(tmp_path / "none", tree, [], log).cases]
    assert names == ["cannot load test/a.js"] * 2
