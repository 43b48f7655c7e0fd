"""What a fix has repaired, by evidence: the tests that failed before pass, as they were. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Sequence

from jobs.remote.offload_runner.protocol import SKIPPED, SUCCEEDED
from jobs.remote.offload_runner.steps import issue
from jobs.remote.offload_runner.steps.findings import (
    ERROR,
    NEEDS_WORK,
    NOTE,
    PASS,
    WARNING,
    Evidence,
    Finding,
    Judgement,
)
from jobs.remote.offload_runner.steps.proven import about_weakened, few
from jobs.remote.offload_runner.steps.results import FAILING, PASSED, Case, Results
from jobs.remote.offload_runner.steps.trees import Run

_VERDICTS = {NOTE: PASS, WARNING: NEEDS_WORK, ERROR: "fail"}
_ORDER = {ERROR: 0, WARNING: 1, NOTE: 2}
_RANK = {PASS: 0, NEEDS_WORK: 1, "fail": 2}


def judgement_of(findings: Sequence[Finding], judgement: Judgement) -> Judgement:
    """Return a judgement with these findings: the worse of its verdict and of what they ask for."""
    asked = [judgement.verdict, *(_VERDICTS[finding.severity] for finding in findings)]
    worst = max(asked, key=_RANK.__getitem__)
    return replace(judgement, verdict=worst, findings=sorted(findings, key=lambda one: _ORDER[one.severity]))


def targets(state: Mapping[str, Any]) -> Dict[str, List[Case]]:
    """Return the tests that were to be repaired, by task."""
    found: Dict[str, List[Case]] = {}
    for topic in state["to_do"]:
        if topic["kind"] == "tests":
            cases = [Case(**{**item, "lines": tuple(item.get("lines", ()))}) for item in topic["cases"]]
            found.setdefault(str(topic["task"]), []).extend(cases)
    return found


def unseen(state: Mapping[str, Any], evidence: Evidence) -> List[Finding]:
    """Return an error for each file that was to be loaded, and whose tests are not seen to pass."""
    told = "%s was to pass, and none of its tests is seen to."
    return [
        Finding(ERROR, task, told % case.title, case.file or None)
        for task, cases in targets(state).items()
        for case in cases
        if case.whole_file and not _passes(case, evidence.tests.get(task, Results()))
    ]


def commands(state: Mapping[str, Any]) -> List[str]:
    """Return the tasks that were to be repaired as a whole, for they name no test."""
    return [str(topic["task"]) for topic in state["to_do"] if topic["kind"] in ("command", "problems")]


def is_proven(state: Mapping[str, Any], evidence: Evidence, judgement: Judgement) -> "bool | None":
    """Return whether all tests that were to be repaired pass now. None: there were none."""
    wanted = [(task, case) for task, cases in targets(state).items() for case in cases]
    if not wanted and issue.is_one(state):
        done = [task for task in commands(state) if issue.new_tests(evidence, task)]
        return bool(done) and judgement.verdict == PASS
    if not wanted:
        return None
    passing = all(_passes(case, evidence.tests.get(task, Results())) for task, case in wanted)
    return passing and all(finding.severity != ERROR for finding in judgement.findings)


def about_nothing(state: Mapping[str, Any]) -> List[Finding]:
    """Return what is to be said when there is no commit of a fix."""
    if not state["to_do"]:
        return [Finding(NOTE, "triage", "Nothing is to be repaired, so no agent was called.")]
    return [
        Finding(WARNING, "triage", "Nothing was repaired: %s." % str(state["why"] or "no agent was named"))
    ]


def about_fix(
    state: Mapping[str, Any],
    evidence: Evidence,
    as_before: Mapping[str, Run],
    restored: Sequence[str],
    weakened: Sequence[Mapping[str, Any]],
) -> List[Finding]:
    """Return what the runs say of a fix.

    `evidence` is that of its commit, `as_before` has the runs of its tests with the `restored` paths (tests
    and their configuration that it changes) as in the head, `weakened` is what it takes from the tests.
    """
    findings: List[Finding] = []
    fixed: List[str] = []
    ended = {one.id: one for one in evidence.outcomes}
    for task, cases in targets(state).items():
        results = evidence.tests.get(task, Results())
        if task in ended and ended[task].state == SKIPPED:
            continue  # the judge says that it did not run
        for case in cases:
            findings += _about_case(task, case, results, as_before.get(task), restored)
        fixed += [case.title for case in cases if _passes(case, results) and _held(case, as_before.get(task))]
    for task in commands(state):
        passes = task in ended and ended[task].state == SUCCEEDED
        before = as_before.get(task)
        if passes and before is not None and not before.passed:
            told = "%s succeeds only because the fix changes %s; with those as they were, it fails."
            findings.append(Finding(ERROR, task, told % (task, few(restored)), restored[0]))
        elif passes:
            fixed.append(task)
    for task, before in as_before.items():
        cases = targets(state).get(task, [])
        others = [
            case for case in before.results.failing if case.key not in {one.key for one in cases}
            and _passes(case, evidence.tests.get(task, Results()))
        ]  # fmt: skip
        if others:
            told = "With the tests as they were before the fix, %s." % (
                "%s fails" % others[0].title
                if len(others) == 1
                else "%d tests fail: %s" % (len(others), few([case.title for case in others]))
            )
            findings.append(Finding(WARNING, task, told, others[0].file or None))
        elif not before.passed and not before.results.failing and task not in commands(state):
            told = "With the tests as they were before the fix, %s fails." % task
            if task in ended and ended[task].state == SUCCEEDED and not findings:
                findings.append(Finding(WARNING, task, told))
    findings += about_weakened(weakened, evidence)
    if restored and not as_before:
        told = "The fix changes %s, which decides how tests run." % few(restored)
        findings.append(Finding(WARNING, "", told, restored[0]))
    elif restored:
        told = "The fix changes tests or how they run: %s. They ran once more as they were."
        findings.append(Finding(NOTE, "", told % few(restored), restored[0]))
    if fixed:
        findings.append(
            Finding(NOTE, "", "Repaired, for it failed before and passes after: %s." % few(fixed))
        )
    threads = sum(topic["kind"] == "thread" for topic in state["to_do"])
    if threads:
        told = "%d unresolved thread%s given to the agent. Whether the fix answers them is for you to say."
        findings.append(Finding(NOTE, "", told % (threads, " was" if threads == 1 else "s were")))
    return findings


def _about_case(
    task: str, case: Case, results: Results, before: "Run | None", restored: Sequence[str]
) -> List[Finding]:
    now = results.by_key().get(case.key)
    if _passes(case, results):
        if _held(case, before):
            return []
        told = "%s passes only because the fix changes %s; with those as they were, it fails."
        return [Finding(ERROR, task, told % (case.title, few(restored)), case.file or None)]
    if now is None and not case.whole_file and results.named:
        told = "%s was to be repaired, and does not run any more." % case.title
        return [Finding(ERROR, task, told, case.file or None)]
    if now is not None and now.outcome not in FAILING:
        told = "%s was to be repaired, and is not run to its end: it is %s now."
        return [Finding(ERROR, task, told % (case.title, now.outcome), case.file or None)]
    return []  # the judge says that it fails


def _passes(case: Case, results: Results) -> bool:
    now = results.by_key().get(case.key)
    if now is not None:
        return now.outcome == PASSED
    loaded = _loaded(case.file or case.name, results) if case.whole_file else []
    return bool(loaded) and all(one.outcome not in FAILING for one in loaded)


def _loaded(unit: str, results: Results) -> List[Case]:
    """Return the tests of a file, of a module or of a package that could not be loaded before."""
    inner = (unit + ".", unit + " > ")
    found = results.in_file(unit)
    return found or [one for one in results.cases if one.suite == unit or one.suite.startswith(inner)]


def _held(case: Case, before: "Run | None") -> bool:
    return before is None or _passes(case, before.results)
