"""Which tests of an implementation's first round count as seen to fail, and what its texts may name."""

import pytest

from jobs.remote.offload_runner.steps import issue, repaired
from jobs.remote.offload_runner.steps.findings import Evidence, Outcome
from jobs.remote.offload_runner.steps.results.model import Case, Results
from jobs.remote.offload_runner.steps.trees import Run

OLD = Case("test_old", "failed", suite="test_old.Old")
NEW = Case("test_new", "failed", suite="test_new.New", lines=("3 != 4",))
UNLOADED = Case("test_new", "error", suite="test_new", whole_file=True)
GREEN, RED = Outcome("test", "tests", "test", "succeeded"), Outcome("test", "tests", "test", "failed")


def run(*cases: Case, code: int = 1, timed_out: bool = False) -> Run:
    return Run(code, 1.0, timed_out, ("make: Error 1",), Results(tuple(cases)))


@pytest.mark.parametrize(
    ("outcome", "runs", "kind"),
    [
        (RED, [run(OLD, NEW), run(OLD, NEW)], "tests"),
        (RED, [run(OLD), run(OLD)], ""),  # only what failed before
        (RED, [run(OLD, NEW), run(OLD)], ""),  # not both times
        (RED, [run(OLD, NEW), run(OLD, NEW, timed_out=True)], ""),
        (GREEN, [run(NEW), run(code=0)], ""),
        (GREEN, [run(UNLOADED), run(UNLOADED)], "command"),
        (RED, [run(OLD, UNLOADED), run(OLD, UNLOADED)], "tests"),
        (GREEN, [run(), run()], "command"),  # no results: its exit code
        (RED, [run(), run()], ""),
        (GREEN, [], ""),
    ],
)
def test_what_fails_each_time_and_did_not_before_is_what_to_make_pass(
    outcome: Outcome, runs: list[Run], kind: str
) -> None:
    before = Results((OLD,) if outcome is RED else ())
    found = issue.fails_now(outcome, before, runs)
    assert (found["kind"] if found else "") == kind
    if found and kind == "tests":
        assert [case["name"] for case in found["cases"]] == ["test_new"]


@pytest.mark.parametrize(
    ("passing", "said"),
    [
        (Case("test_new", "passed", suite="test_new.New"), 0),
        (Case("test_x", "passed", suite="test_newer"), 1),
    ],
)
def test_a_module_that_was_to_be_loaded_is_seen_by_its_own_tests_only(passing: Case, said: int) -> None:
    found = issue.fails_now(RED, Results((OLD,)), [run(OLD, UNLOADED)])
    state = {"to_do": [found], "tests_at": "1" * 40}
    evidence = Evidence([RED], tests={"test": Results((OLD, passing))})
    assert len(repaired.unseen(state, evidence)) == said


def test_what_others_wrote_refers_to_nothing_in_a_commit() -> None:
    hostile = "closes #1, fixes GH-2, resolves https://github.com/a/b/issues/3, !4 &5 @bob"
    assert (
        issue.harmless(hostile) == "closes  1, fixes  2, resolves https github.com/a/b/issues/3,  4  5  bob"
    )
    topic = issue.topic_of({"number": 45, "title": "a\n#1 \x1b[2J@bob", "body": "x\n" * 1000})
    assert topic["title"].startswith("#45 a 1 ")
    assert "\x1b" not in topic["title"]
    assert len(topic["lines"]) == 400
