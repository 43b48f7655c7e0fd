"""The verdict by role, as a table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.remote.offload_runner.steps.findings import Compared, Evidence, Finding, Outcome
from jobs.remote.offload_runner.steps.judge import judge, place_in
from jobs.remote.offload_runner.steps.problems import Problem
from jobs.remote.offload_runner.steps.proven import is_proven, proves
from jobs.remote.offload_runner.steps.results import Case, Results
from jobs.remote.offload_runner.steps.results.model import OUTCOMES
from jobs.remote.offload_runner.steps.trees import Run
from jobs.states import Verdict


def task(role: str, state: str = "succeeded", **fields: Any) -> Outcome:
    code = {"succeeded": 0, "failed": 1}.get(state)
    when = "failure" if role == "test_base" else "success"
    return Outcome(**{"id": role, "name": f"run {role}", "role": role, "state": state, "exit_code": code,
                      "when": when, **fields})  # fmt: skip


GOOD = [task("context"), task("conflicts"), task("build"), task("test"), task("lint"), task("types")]
BASE_UNUSED = task("test_base", "skipped", reason="nothing it waits for failed")


def but(*changed: Outcome) -> list[Outcome]:
    """Return a good job with some tasks replaced or added."""
    roles = {one.role for one in changed}
    return [*(one for one in GOOD if one.role not in roles), *changed]


def proof(*results: str, built: bool = True) -> dict[str, Any]:
    files = [{"path": f"tests/test_{n}.py", "result": result} for n, result in enumerate(results)]
    return {"base_built": built, "base_error": "" if built else "`npm ci` exit code 1", "files": files}


def verdict(evidence: Evidence) -> tuple[str, list[tuple[str, str]]]:
    judgement = judge(evidence)
    return judgement.verdict, [(finding.severity, finding.task) for finding in judgement.findings]


@pytest.mark.parametrize(
    ("outcomes", "expected", "findings"),
    [
        (GOOD, "pass", []),
        (but(BASE_UNUSED), "pass", []),
        # Build and tests, when nothing is known of the base.
        (but(task("build", "failed")), "fail", [("error", "build")]),
        (but(task("install", "failed")), "fail", [("error", "install")]),
        (but(task("test", "failed")), "fail", [("error", "test")]),
        (but(task("test", "failed"), task("test_base", "skipped")), "fail", [("error", "test")]),
        # Checks.
        (but(task("lint", "failed")), "needs_work", [("warning", "lint")]),
        (but(task("types", "failed")), "needs_work", [("warning", "types")]),
        (but(task("ci", "failed")), "needs_work", [("warning", "ci")]),
        (but(task("custom", "failed")), "needs_work", [("warning", "custom")]),
        (but(task("context", "failed")), "needs_work", [("warning", "context")]),
        (but(task("agent", "failed")), "pass", [("note", "agent")]),
        # Evidence that is missing.
        (but(task("test", "failed", reason="timeout")), "needs_work", [("warning", "test")]),
        (but(task("lint", "failed", reason="timeout")), "needs_work", [("warning", "lint")]),
        (but(task("test", "skipped", reason="build failed")), "needs_work", [("warning", "test")]),
        (but(task("test", "cancelled")), "needs_work", [("warning", "test")]),
        (but(task("test", "interrupted")), "needs_work", [("warning", "test")]),
        (but(task("test", "pending")), "needs_work", [("warning", "test")]),
        (but(task("test", "failed", reason="not_found", exit_code=127)), "needs_work", [("warning", "test")]),
        (but(task("test", "failed", reason="no_space")), "needs_work", [("warning", "test")]),
        (but(task("test", "failed", missing_program="cargo")), "needs_work", [("warning", "test")]),
        (but(task("lint", "failed", missing_program="ruff")), "pass", [("note", "lint")]),
        # Nothing to go by.
        ([task("context"), task("build")], "needs_work", [("note", "")]),
        ([], "needs_work", [("note", "")]),
        # The worst counts, and comes first.
        (
            but(task("lint", "failed"), task("test", "failed"), task("test_base")),
            "fail",
            [("error", "test"), ("warning", "lint")],
        ),
    ],
)
def test_verdict(outcomes: list[Outcome], expected: str, findings: list[tuple[str, str]]) -> None:
    assert verdict(Evidence(outcomes)) == (expected, findings)
    assert Verdict(expected)


def run(code: int, *cases: Case, **fields: Any) -> Run:
    results = Results(tuple(cases), **{"source": "JUnit XML" if cases else "", **fields})
    return Run(code, 1.0, results=results)


def case(name: str, outcome: str = "passed", **fields: Any) -> Case:
    return Case(name, outcome, file="tests/test_a.py", **fields)


OK, BAD = (
    case("test_a"),
    case("test_a", "failed", message="assert 1 == 2", at_file="tests/test_a.py", at_line=3),
)
OTHER = case("test_b", "failed")


def against(
    base: Run | None, head: Run, *reruns: Run, state: str = "failed", **fields: Any
) -> tuple[str, list[str]]:
    """Judge one test task by its results and the base's; return the verdict and the messages that count."""
    outcome = task("test", state, exit_code=head.exit_code, **fields)
    judgement = judge(
        Evidence(
            but(outcome),
            tests={"test": head.results},
            compared={"test": Compared(base, reruns)},
            base_built=base is not None,
        )
    )
    return judgement.verdict, [one.message for one in judgement.findings]


@pytest.mark.parametrize(
    ("base", "head", "reruns", "expected", "said"),
    [
        (run(0, OK), run(1, BAD), [], "fail", "passes on the base and fails on the head: assert 1 == 2."),
        (run(1, BAD), run(1, BAD), [], "pass", "fails on the base as well"),
        (run(1, BAD, case("test_b")), run(1, BAD, OTHER), [], "fail", "test_b passes on the base"),
        (run(1, BAD, OTHER), run(1, BAD, case("test_b")), [], "pass", "Fixed by this change"),
        (run(0, case("x")), run(1, BAD, case("x")), [], "fail", "is new and fails"),
        (None, run(1, BAD), [], "fail", "whether it does on the base is not known"),
        (run(0, OK), run(1, BAD), [run(1, BAD), run(0, OK)], "pass", "Flaky"),
        # The exit code and the results must agree.
        (run(0, OK), run(1, OK), [], "fail", "although no test fails in its results"),
        (run(1, OK), run(1, OK), [], "needs_work", "although no test fails in its results"),
        (run(0, BAD), run(1, BAD), [], "fail", "although the same tests fail on both"),
        (run(0, OK), run(1, BAD), [run(1, OK), run(1, OK)], "needs_work", "never succeeds"),
        (run(0, OK, case("test_b")), run(1, OK, complete=False), [], "fail", "did not run on the head"),
        # Without results, the exit code is the evidence.
        (run(0), run(1), [], "fail", "succeeds on the base"),
        (run(1), run(1), [], "needs_work", "nothing tells what is new"),
        (run(0), run(1), [run(0)], "pass", "is flaky"),
        (run(1, BAD), run(1), [], "needs_work", "nothing tells what is new"),
        (run(1, BAD, case("test_b")), run(1), [], "fail", "before any test runs; on the base 1 test passes."),
    ],
)
def test_tests_against_the_base(
    base: Run | None, head: Run, reruns: list[Run], expected: str, said: str
) -> None:
    verdict, messages = against(base, head, *reruns)
    assert verdict == expected, messages
    assert any(said in message for message in messages), messages


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            run(1, case("test_a/x", "failed", message="no"), case("test_a", "failed")),
            ["test_a/x is new and fails: no."],
        ),
        (
            run(1, case("test_a", "failed", message="[XPASS(strict)] ")),
            ["test_a passes although it is marked as one that must fail (xfail, strict)."],
        ),
        (
            run(1, case("t", "error", message="SyntaxError: no", whole_file=True)),
            ["tests/test_a.py cannot be loaded on the head (SyntaxError: no); its tests pass on the base."],
        ),
    ],
)
def test_words_about_a_failing_test(head: Run, said: list[str]) -> None:
    base = run(0, case("test_b") if head.results.cases[0].name == "test_a/x" else case("test_a"))
    _, messages = against(base, head)
    assert [one.removeprefix("tests/test_a.py::") for one in messages if "do not run" not in one][:1] == said


def test_what_a_failed_build_keeps_from_running_is_one_note() -> None:
    outcomes = [
        task("build", "failed", problems=(Problem("a.go", 5, "undefined: x"),)),
        task("test", "skipped", reason="run build failed"),
        task("lint", "skipped", reason="run build failed"),
    ]
    judgement = judge(Evidence(outcomes, base_built=True))
    assert [(one.severity, one.message, one.line) for one in judgement.findings] == [
        (
            "error",
            "The build (run build) fails on the head (exit code 1) and not on the base (undefined: x).",
            5,
        ),
        ("note", "Not run, because run build failed: run test, run lint.", None),
    ]


def test_documents_are_not_blamed_for_a_base_without_results() -> None:
    def judged(path: str) -> str:
        evidence = Evidence(
            but(task("test", "failed")),
            compared={"test": Compared(run(1))},
            changed=[{"path": path, "status": "M"}],
            base_built=True,
        )
        return judge(evidence).verdict

    assert [judged(path) for path in ("README", "docs/a.md", "a.c", "tests/data/a.md")] == [
        "pass", "pass", "needs_work", "needs_work",
    ]  # fmt: skip


def test_a_coverage_threshold_is_named() -> None:
    tail = "3 passed\nFAIL Required test coverage of 90% not reached. Total coverage: 50.00%\n"
    _, messages = against(run(0, OK), run(1, OK), tail=tail)
    assert "succeeds on the base: FAIL Required test coverage of 90% not reached" in messages[0]


def test_a_flaky_test_proves_nothing() -> None:
    found = {**proof("proof"), "source_changed": True}
    found["files"][0]["tests"] = {"proof": ["tests/test_a.py::test_a"]}
    compared = {"test": Compared(run(1, BAD), (run(0, OK),))}
    evidence = Evidence(but(task("proof")), {"test": run(1, BAD).results}, compared, proof=found)
    assert proves(evidence) == []
    assert proves(Evidence(but(task("proof")), proof=found)) == ["tests/test_0.py"]


def test_success_with_failing_results_is_not_a_pass() -> None:
    verdict, messages = against(run(0, OK), run(0, BAD), state="succeeded")
    assert verdict == "fail", messages
    verdict, messages = against(run(0, BAD), run(0, BAD), state="succeeded")
    assert (verdict, "exit code 0 although 1 test fails" in " ".join(messages)) == ("needs_work", True)


def test_an_altered_test_command_that_names_no_test_does_not_pass() -> None:
    verdict, messages = against(run(0, OK), run(0), state="succeeded")
    assert (verdict, "names no test; on the base it names 1" in messages[0]) == ("needs_work", True)
    assert against(run(0), run(0), state="succeeded")[0] == "needs_work"
    assert against(None, run(0), state="succeeded")[0] == "pass"
    assert against(run(0, OK), run(0, OK), state="succeeded")[0] == "pass"


def altered(base: Run, head: Run, as_on_base: Run) -> tuple[str, list[str]]:
    """Judge a change of the test command: the head's own succeeds, and the base's runs on the head too."""
    state = "failed" if as_on_base.exit_code else "succeeded"
    again = task("test", state, id="as-on-base", exit_code=as_on_base.exit_code, of_base="test")
    judgement = judge(
        Evidence(
            [*GOOD, again],
            tests={"test": head.results, "as-on-base": as_on_base.results},
            compared={name: Compared(base) for name in ("test", "as-on-base")},
            base_built=True,
        )
    )
    return judgement.verdict, [one.message for one in judgement.findings]


def test_where_no_file_can_be_loaded_evidence_is_missing() -> None:
    unloaded = case("tests/test_a.py", "error", whole_file=True, message="No module named 'x'.")
    verdict, messages = against(run(1, unloaded), run(1, unloaded))
    assert (verdict, messages[0]) == (
        "needs_work",
        "The test run (run test) runs no test, for tests/test_a.py cannot be loaded: No module named 'x'.",
    )
    assert against(run(1, unloaded, case("test_b")), run(1, unloaded, case("test_b")))[0] == "pass"
    verdict, messages = against(run(1, unloaded), run(5, source="JUnit XML"))
    assert (verdict, messages) == ("needs_work", ["The test run (run test) found no tests."])


def test_a_run_that_breaks_off_on_both_is_said_once() -> None:
    broken = run(3, source="JUnit XML", complete=False, notes=("pytest ended with an error of its own: x",))
    assert against(broken, broken) == (
        "needs_work",
        [
            "The test run (run test) broke off (exit code 3), so its results are incomplete. "
            "pytest ended with an error of its own: x."
        ],
    )
    assert against(run(0, OK), broken)[0] == "fail"


def test_a_renamed_test_command_passes() -> None:
    """It does where the base's command succeeds on the head, or the head's runs the tests of the base."""
    assert altered(run(0), run(0), run(0)) == ("pass", [])
    named = run(0, OK)
    verdict, messages = altered(named, named, run(2))
    assert (verdict, "runs the same tests" in messages[0]) == ("pass", True)
    assert altered(named, run(0, case("test_other")), run(2))[0] == "needs_work"
    assert altered(named, run(0), run(0, OK))[0] == "needs_work"
    assert altered(run(0), run(0), run(2))[0] == "needs_work"


def test_a_run_that_does_not_begin_says_why() -> None:
    tail = "Traceback (most recent call last):\n  ...\npluggy.PluginError: hook 'collect'\nArgument {'path'}"
    _, messages = against(run(1, BAD, case("test_b")), run(1), tail=tail)
    assert "before any test runs (pluggy.PluginError: hook 'collect'); on the base" in messages[0]
    _, messages = against(run(4), run(4), tail="usage: x\nx.py: error: no argument --cov\n  rootdir: /")
    assert "and on the base (x.py: error: no argument --cov); without" in messages[0]


def test_fewer_failures_than_the_log_counts_are_not_believed() -> None:
    verdict, messages = against(run(1, BAD), run(1, BAD), tail="2 failed, 3 passed in 0.1s")
    assert (verdict, messages[0]) == (
        "fail", "The test run (run test) says that 2 tests fail, and its results name 1."
    )  # fmt: skip


@given(
    base=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=6),
    head=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=6),
    codes=st.tuples(st.sampled_from([0, 1]), st.sampled_from([0, 1])),
)
def test_no_results_make_a_failed_run_pass_that_the_base_passes(
    base: list[str], head: list[str], codes: tuple[int, int]
) -> None:
    def cases(outcomes: list[str]) -> list[Case]:
        return [case(f"test_{n}", outcome) for n, outcome in enumerate(outcomes)]

    base_run, head_run = run(codes[0], *cases(base)), run(codes[1], *cases(head))
    verdict, messages = against(base_run, head_run, state="failed" if codes[1] else "succeeded")
    if codes[1] and not codes[0]:
        assert verdict == "fail", messages
    broken = any(new in ("failed", "error") and old == "passed" for old, new in zip(base, head, strict=False))
    if broken:
        assert verdict == "fail", messages


def test_only_new_problems_of_a_check_count() -> None:
    def lint(head: list[Problem], base: list[Problem] | None, **fields: Any) -> tuple[str, list[str]]:
        code = fields.pop("base_code", int(bool(base)))
        outcome = task("lint", "failed", problems=tuple(head), **fields)
        made = None if base is None else Run(code, 1.0, problems=tuple(base))
        changed = [{"path": "b.py"}]
        judgement = judge(
            Evidence(but(outcome), compared={"lint": Compared(made)}, base_built=True, changed=changed)
        )
        return judgement.verdict, [one.message for one in judgement.findings if one.task]

    old, moved, new = Problem("a.py", 3, "E1 bad"), Problem("a.py", 9, "E1 bad"), Problem("b.py", 1, "E2")
    assert lint([moved], [old])[0] == "pass"
    assert lint([moved, new], [old]) == (
        "needs_work", ["The lint check (run lint) reports a new problem: E2."]
    )  # fmt: skip
    assert lint([new], [], base_code=127) == (
        "needs_work",
        ["The lint check (run lint) fails (exit code 1), and its program cannot run on the base."],
    )
    assert lint([old], [], base_code=127)[0] == "pass", "the change does not touch the file"
    assert lint([], None, missing_tool="eslint")[0] == "pass"
    assert lint([], [], missing_tool="eslint")[0] == "needs_work", "the base has the tool"


@pytest.mark.parametrize(
    ("state", "answer", "expected", "findings"),
    [
        ("succeeded", proof("proof"), "pass", []),
        ("succeeded", proof("proves_nothing"), "pass", []),
        ("succeeded", proof("passes", built=False), "pass", ["note"]),
        ("failed", proof("proof", "still_fails"), "needs_work", ["warning"]),
        ("failed", proof("fails", built=False), "needs_work", ["warning", "note"]),
        ("failed", proof("regression"), "fail", ["error"]),
        ("failed", None, "needs_work", ["warning"]),
    ],
)
def test_proof(state: str, answer: dict[str, Any] | None, expected: str, findings: list[str]) -> None:
    judgement = judge(Evidence(but(task("proof", state)), proof=answer))
    assert (judgement.verdict, [finding.severity for finding in judgement.findings]) == (expected, findings)


def test_many_files_that_fail_alike_are_one_finding() -> None:
    judgement = judge(Evidence(but(task("proof", "failed")), proof=proof(*["still_fails"] * 7, "not_run")))
    assert [one.message for one in judgement.findings if one.task == "proof"] == [
        "7 test files that changed or use changed files fail on the head, and on the base too: "
        "tests/test_0.py, tests/test_1.py, tests/test_2.py, tests/test_3.py, tests/test_4.py and 2 more.",
        "tests/test_7.py was changed, and none of its tests runs.",
    ]


@pytest.mark.parametrize(
    ("paths", "answer", "proven"),
    [
        (["a.py", "tests/test_a.py"], proof("proof"), True),
        (["a.py", "tests/test_a.py"], proof("proves_nothing", "proof"), True),
        (["a.py", "tests/test_a.py"], proof("proves_nothing"), False),
        (["a.py", "tests/test_a.py"], proof("proof") | {"source_changed": False}, False),
        (["a.py", "tests/test_a.py"], proof("passes", built=False), None),
        (["a.py", "tests/test_a.py"], None, None),
        (["a.py"], None, False),
        (["README.md"], None, None),
        ([], None, None),
    ],
)
def test_whether_a_change_is_proven(
    paths: list[str], answer: dict[str, Any] | None, proven: bool | None
) -> None:
    changed = [{"path": path, "status": "M"} for path in paths]
    assert is_proven(Evidence(GOOD, proof=answer, changed=changed)) is proven
    untested = [one for one in GOOD if one.role != "test"]
    assert is_proven(Evidence(untested, changed=changed)) is None


@pytest.mark.parametrize(
    ("failing", "in_proof"),
    [
        (Case("test_a", "failed", suite="tests.test_0.T"), []),
        (Case("a", "failed", at_file="tests/test_0.py"), []),
        (Case("a", "failed"), ["a"]),
    ],
    ids=["by module", "by place", "by name"],
)
def test_a_failing_test_explains_its_file(failing: Case, in_proof: list[str]) -> None:
    answer = proof("still_fails")
    answer["files"][0]["tests"] = {"still_fails": in_proof}
    judgement = judge(
        Evidence(
            but(task("test", "failed"), task("proof", "failed")),
            tests={"test": Results((failing,), source="TAP")},
            proof=answer,
        )
    )
    assert [one.task for one in judgement.findings] == ["test"]


def test_a_proof_cut_short_keeps_what_it_found() -> None:
    cut = task("proof", "failed", reason="timeout", exit_code=-9)
    judgement = judge(Evidence(but(cut), proof=proof("regression")))
    assert judgement.verdict == "fail"
    assert "did not end in time" in judgement.findings[1].message


def test_a_skipped_proof_is_missing_evidence() -> None:
    assert verdict(Evidence(but(task("proof", "skipped", reason="install failed")))) == (
        "needs_work",
        [("warning", "proof")],
    )


def test_each_conflicting_file_is_named() -> None:
    answer = {"clean": False, "files": ["a.py", "b.py"]}
    judgement = judge(Evidence(but(task("conflicts", "failed")), conflicts=answer))
    assert judgement.verdict == "needs_work"
    assert [finding.file for finding in judgement.findings] == ["a.py", "b.py"]
    unknown = judge(Evidence(but(task("conflicts", "failed", exit_code=70))))
    assert "could not be determined" in unknown.findings[0].message
    island = {"clean": False, "files": [], "reason": "the two have no common history"}
    judgement = judge(Evidence(but(task("conflicts", "failed")), conflicts=island))
    assert "no common history" in judgement.findings[0].message


def test_pointers_in_place_of_files_are_told_and_do_not_decide() -> None:
    judgement = judge(Evidence([task("context"), task("test")], lfs=True))
    assert judgement.verdict == "pass"
    assert "Git LFS" in judgement.findings[0].message


def test_a_change_of_nothing_needs_no_tests() -> None:
    judgement = judge(Evidence([task("context")], empty=True))
    assert (judgement.verdict, judgement.findings[0].severity) == ("pass", "note")


def test_words_say_where_the_fault_is() -> None:
    judgement = judge(Evidence(but(task("build", "failed", exit_code=-11)), base_built=True))
    assert judgement.findings == [
        Finding("error", "build", "The build (run build) fails on the head (signal 11) and not on the base.")
    ]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("E  boom\ntests/test_a.py:12: AssertionError", ("tests/test_a.py", 12)),
        ("./src/a.ts:3:5 - error TS2322", ("src/a.ts", 3)),
        ('  File "tests/test_a.py", line 7, in test', ("tests/test_a.py", 7)),
        ("lib/other.py:1: in f\ntests/test_a.py:2: in t", ("tests/test_a.py", 2)),
        ("/usr/lib/tests/test_a.py:2: in t", (None, None)),
        ("12:30:01 nothing here", (None, None)),
    ],
)
def test_the_place_of_a_failure_is_in_a_changed_file(
    tail: str, expected: tuple[str | None, int | None]
) -> None:
    assert place_in(tail, ["tests/test_a.py", "src/a.ts"]) == expected


def test_what_the_forge_says_counts_with_its_commit() -> None:
    said = {
        "why_not": "", "failed_to_read": False, "head_sha": "b" * 40,
        "blocks": ["The required check lint failed."], "unknown": ["Reviews were not read."],
    }  # fmt: skip
    result = judge(Evidence([task("test")], forge=said, sha="a" * 40))
    assert result.verdict == "needs_work"
    assert [(one.severity, one.message.partition(":")[2]) for one in result.findings[1:]] == [
        ("warning", " The required check lint failed."),
        ("note", " Reviews were not read."),
    ]
    assert "The forge has the head bbbbbbbbbb" in result.findings[0].message
    for failed, expected in ((False, "pass"), (True, "needs_work")):
        said = {"why_not": "no forge", "failed_to_read": failed}
        result = judge(Evidence([task("test")], forge=said, sha="a" * 40))
        assert result.verdict == expected
        assert "were not looked at, for no forge." in result.findings[0].message
