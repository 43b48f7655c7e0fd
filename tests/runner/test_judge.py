"""The verdict by role, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.remote.offload_runner.steps.judge import Evidence, Finding, Outcome, judge, place
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
        # Build and tests, against the base.
        (but(task("test", "failed"), task("test_base")), "fail", [("error", "test")]),
        (but(task("build", "failed"), task("test_base")), "fail", [("error", "build")]),
        (but(task("install", "failed"), task("test_base")), "fail", [("error", "install")]),
        (but(task("test", "failed"), task("test_base", "failed")), "needs_work", [("warning", "test")]),
        (but(task("test", "failed")), "fail", [("error", "test")]),
        (
            but(task("test", "failed"), task("test_base", "failed", reason="timeout")),
            "fail",
            [("error", "test")],
        ),
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


@pytest.mark.parametrize(
    ("state", "answer", "expected", "findings"),
    [
        ("succeeded", proof("proof"), "pass", []),
        ("succeeded", proof("proves_nothing"), "pass", ["note"]),
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
    assert "could not be found out" in unknown.findings[0].message
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
    judgement = judge(Evidence(but(task("test", "failed", exit_code=-11), task("test_base"))))
    assert judgement.findings == [
        Finding("error", "test", "The test run (run test) fails on the head (signal 11) and not on the base.")
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
    assert place(tail, ["tests/test_a.py", "src/a.ts"]) == expected
