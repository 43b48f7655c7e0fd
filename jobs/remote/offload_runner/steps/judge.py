"""From the evidence to a verdict with its findings. Pure; knows roles, never ids or commands.

    fail        the change breaks a test or the build, or adds a test that fails
    needs_work  anything else that stands in the way, and evidence that is missing
    pass        otherwise; what fails on the base as well is not held against the change

Severities: an `error` makes the verdict fail, a `warning` needs_work, a `note` leaves it as it is.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence

from jobs.remote.offload_runner.protocol import CANCELLED, FAILED, SKIPPED, SUCCEEDED
from jobs.remote.offload_runner.steps.difference import Difference, compare, renames
from jobs.remote.offload_runner.steps.findings import (
    ERROR,
    FAIL,
    NEEDS_WORK,
    NOTE,
    PASS,
    WARNING,
    Compared,
    Evidence,
    Finding,
    Judgement,
    Outcome,
)
from jobs.remote.offload_runner.steps.named_tests import (
    about_removed,
    about_tests_by_name,
    cause,
    fail,
    missed_gate,
)
from jobs.remote.offload_runner.steps.on_forge import about_forge
from jobs.remote.offload_runner.steps.problems import Problem, new_problems
from jobs.remote.offload_runner.steps.proven import about_files, about_tests, few
from jobs.remote.offload_runner.steps.results import PASSED, Case, Results
from jobs.remote.offload_runner.steps.results.collect import place
from jobs.remote.offload_runner.steps.sources import is_document
from jobs.remote.offload_runner.steps.trees import Run

_RANK = {PASS: 0, NEEDS_WORK: 1, FAIL: 2}
_VERDICT = {NOTE: PASS, WARNING: NEEDS_WORK, ERROR: FAIL}

# What must work before anything else can be said; then what the change must not break.
_BUILDING = ("install", "build", "test")
_CHECKS = ("lint", "types")
_NAMES = {
    "install": "Installing",
    "build": "The build",
    "test": "The test run",
    "lint": "The lint check",
    "types": "The type check",
    "ci": "The forge's own check",
    "agent": "The agent's review",
}
_NO_PROGRAM = (126, 127)
_NO_TESTS = 5  # pytest: no tests were collected


def judge(evidence: Evidence) -> Judgement:
    """Return the verdict: the worst that any finding asks for."""
    findings: List[Finding] = []
    differences: Dict[str, Difference] = {}
    for task in evidence.outcomes:
        if task.role in ("synthesis", "test_base", "base", "hunks", "triage", "fix", "fixed"):
            continue
        if task.role == "conflicts":
            findings += _conflicts(task, evidence.conflicts)
        elif task.role == "proof" and not _is_consequence(task, evidence.outcomes):
            findings += _proof(task, evidence, differences)
        elif task.role == "agent" and task.state == SUCCEEDED:
            findings += _agent(task, evidence.agent)
        elif task.role == "test" and task.state in (SUCCEEDED, FAILED):
            findings += _tests(task, evidence, differences)
        elif task.state == FAILED:
            findings += _failure(task, evidence)
        elif task.state != SUCCEEDED and not _is_consequence(task, evidence.outcomes):
            findings += _missing(task)
    findings = [*_without_repetition(findings), *_consequences(evidence.outcomes)]
    if not evidence.empty:
        findings += about_tests(evidence)
    findings += about_forge(evidence)
    findings += [Finding(note.get("severity", NOTE), "", note["message"]) for note in evidence.notes]
    verdict = max((_VERDICT[finding.severity] for finding in findings), key=_RANK.__getitem__, default=PASS)
    if evidence.empty:
        findings.append(Finding(NOTE, "", "The head changes nothing against the base."))
    elif not any(task.role in ("test", "proof") for task in evidence.outcomes):
        findings.append(Finding(NOTE, "", "No tests were found, so nothing shows that the change works."))
        verdict = max(verdict, NEEDS_WORK, key=_RANK.__getitem__)
    if evidence.lfs:
        told = "The repository keeps files in Git LFS; the tasks saw their pointers and not their contents."
        findings.append(Finding(NOTE, "", told))
    order = {ERROR: 0, WARNING: 1, NOTE: 2}
    return Judgement(verdict, sorted(findings, key=lambda one: order[one.severity]), differences)


# Tests


def _tests(task: Outcome, evidence: Evidence, differences: Dict[str, Difference]) -> List[Finding]:
    results = evidence.tests.get(task.id, Results())
    compared = evidence.compared.get(task.id, Compared())
    passed = task.state == SUCCEEDED
    if not passed and (not task.could_run or task.timed_out):
        return _failure(task, evidence)
    base = compared.base if compared.base is not None and not compared.base.timed_out else None
    if not results.known:
        if passed and not results.complete:
            return [_incomplete(task, results)]
        if passed:
            return _without_results(task, compared.base, evidence)
        return _by_exit_code(task, evidence, results, base, compared.reruns)
    difference = compare(
        results,
        base.results if base else None,
        [run.results for run in compared.reruns],
        renames(evidence.changed),
    )
    differences[task.id] = difference
    findings = [
        *about_tests_by_name(task, difference, bool(base and base.passed)),
        *about_removed(task, difference, evidence),
    ]
    if not results.complete and not passed:
        told = "%s broke off (%s), so its results are incomplete." % (_name(task), _exit(task.exit_code))
        told += "".join(" %s." % note.rstrip(".") for note in results.notes[:1])
        if difference.not_run:
            told += " %s on the base did not run on the head." % _that_pass(difference.not_run)
        severity = ERROR if difference.not_run and base is not None and base.passed else WARNING
        findings.append(Finding(severity, task.id, told))
        if severity == ERROR:
            return findings
    if not passed and not results.failing:
        if task.exit_code == _NO_TESTS and not results.cases:
            return [*findings, _no_tests(task, base)]
        if not results.complete and base is not None and not base.passed and not base.results.failing:
            return findings  # said above; no more is known of the base
        return [*findings, *_by_exit_code(task, evidence, results, base, compared.reruns)]
    if passed and results.failing:
        told = "%s ends with exit code 0 although %s in its results." % (_name(task), fail(results.failing))
        findings.append(Finding(WARNING, task.id, told))
    elif passed and not results.complete:
        findings.append(_incomplete(task, results))
    elif passed and not results.count("passed", "failed", "error", "xfail"):
        findings.append(Finding(WARNING, task.id, "%s succeeds, but no test ran." % _name(task)))
    elif not passed and not difference.to_blame:
        unexplained = _unexplained(task, results, difference, base, compared.reruns)
        findings += unexplained or _none_loaded(task, results)
    return findings


def _incomplete(task: Outcome, results: Results) -> Finding:
    why = "".join(" %s." % note.rstrip(".") for note in results.notes[:1])
    told = "%s succeeds, but not all of its results could be read.%s" % (_name(task), why)
    return Finding(WARNING, task.id, told)


def _none_loaded(task: Outcome, results: Results) -> List[Finding]:
    """Return a finding when no test file could be loaded."""
    if not results.named or not all(case.whole_file for case in results.cases):
        return []
    first = results.cases[0]
    file, why = first.file or first.name, ": %s" % first.message.rstrip(".") if first.message else ""
    told = "%s runs no test, for %s cannot be loaded%s." % (_name(task), file, why)
    return [Finding(WARNING, task.id, told, file)]


def _without_results(task: Outcome, base: Optional[Run], evidence: Evidence) -> List[Finding]:
    """Return a finding when a test command succeeds, names no test, and is another than the base's."""
    if base is None or task.of_base:
        return []  # the base runs for a success only where the change alters the command
    name = _name(task)
    if base.results.cases:
        told = "%s succeeds and names no test; on the base it names %d." % (name, len(base.results.cases))
        return [Finding(WARNING, task.id, told)]
    if any(other.of_base == task.id and other.state == SUCCEEDED for other in evidence.outcomes):
        return []  # the base's command succeeds on the head as well, and names no test either
    told = "%s was altered, and without test results nothing tells whether it still tests." % name
    return [Finding(WARNING, task.id, told)]


def _runs_all_of_base(task: Outcome, evidence: Evidence) -> bool:
    """Tell whether the head's own command succeeds and runs every test that the base names."""
    head = evidence.tests.get(task.of_base, Results())
    base = evidence.compared.get(task.of_base, Compared()).base
    own = next((other for other in evidence.outcomes if other.id == task.of_base), None)
    if own is None or own.state != SUCCEEDED or base is None or not base.results.cases:
        return False
    return head.complete and not head.failing and not compare(head, base.results).removed


def _unexplained(
    task: Outcome,
    results: Results,
    difference: Difference,
    base: Optional[Run],
    reruns: Sequence[Run],
) -> List[Finding]:
    """Return a finding when the exit code of a failed run says more than its failing tests explain."""
    if difference.flaky and not difference.already_failing and not any(run.passed for run in reruns):
        told = "%s never succeeds (%s), although each of its failing tests passes when it is run again."
        return [Finding(WARNING, task.id, told % (_name(task), _exit(task.exit_code)))]
    if difference.already_failing and base is not None and base.passed:
        told = "%s fails on the head (%s) and succeeds on the base, although the same tests fail on both."
        return [Finding(ERROR, task.id, told % (_name(task), _exit(task.exit_code)))]
    said = _failed_count(task.tail)
    if said is not None and said > len(results.failing):
        told = "%s says that %d tests fail, and its results name %d."
        return [Finding(ERROR, task.id, told % (_name(task), said, len(results.failing)))]
    return []


def _failed_count(tail: str) -> Optional[int]:
    """Return the number of failed tests in a summary line of pytest, node, mocha or jest."""
    found = re.findall(
        r"^=* ?(\d{1,9}) failed\b|^ℹ fail (\d{1,9})$|^ {2}(\d{1,9}) failing$", tail, re.MULTILINE
    )
    return int(next(part for part in found[-1] if part)) if found else None


def _by_exit_code(
    task: Outcome,
    evidence: Evidence,
    results: Results,
    base: Optional[Run],
    reruns: Sequence[Run],
) -> List[Finding]:
    """Return the finding of a failed run that names no failing test."""
    gate = missed_gate(task.tail)
    why = gate or ("" if not results.known else ", although no test fails in its results")
    name, how = _name(task), _exit(task.exit_code)
    file, line = place_in(task.tail, evidence.paths)
    if any(run.passed for run in reruns):
        told = "%s is flaky: it failed once (%s) and succeeded when it was run again." % (name, how)
        return [Finding(NOTE, task.id, told, file, line)]
    if task.of_base:
        if not results.known and _runs_all_of_base(task, evidence):
            told = "The base's test command cannot run on the head (%s); the head's own runs the same tests."
            return [Finding(NOTE, task.id, told % how)]
        told = "With the base's test command the head fails (%s)%s." % (how, why)
        return [Finding(WARNING, task.id, told, file, line)]
    if base is None:
        return _failure(task, evidence)
    passing = base.results.count(PASSED)
    if passing and not results.cases:
        tests = "1 test passes" if passing == 1 else "%d tests pass" % passing
        told = "%s fails on the head (%s) before any test runs%s; on the base %s."
        return [Finding(ERROR, task.id, told % (name, how, cause(task.tail), tests), file, line)]
    if base.passed:
        missing = ": %s was not found" % task.missing_tool if task.missing_tool else ""
        said = "" if results.known or missing else cause(task.tail)
        told = "%s fails on the head (%s) and succeeds on the base%s%s%s." % (name, how, missing, why, said)
        return [Finding(ERROR, task.id, told, file, line)]
    if task.missing_tool:
        told = "%s did not run: %s is not installed on the worker." % (name, task.missing_tool)
        return [Finding(WARNING, task.id, told)]
    if results.known and base.results.known and not base.results.failing:
        told = "%s fails on the head (%s) and on the base%s." % (name, how, why)
        return [Finding(WARNING, task.id, told, file, line)]
    if evidence.changed and all(is_document(path) for path in evidence.paths):
        told = "%s fails on the head (%s) and on the base%s; the change has documents only."
        return [Finding(NOTE, task.id, told % (name, how, cause(task.tail)), file, line)]
    told = "%s fails on the head (%s) and on the base%s; without test results nothing tells what is new."
    return [Finding(WARNING, task.id, told % (name, how, cause(task.tail)), file, line)]


def _no_tests(task: Outcome, base: Optional[Run]) -> Finding:
    ran = [case for case in base.results.cases if not case.whole_file] if base is not None else []
    if ran:
        tests = "1 runs" if len(ran) == 1 else "%d run" % len(ran)
        return Finding(ERROR, task.id, "No test runs on the head; %s on the base." % tests)
    return Finding(WARNING, task.id, "%s found no tests." % _name(task))


# Everything else that a task can come to


def _failure(task: Outcome, evidence: Evidence) -> List[Finding]:
    does = _name(task)
    is_check = task.role in _CHECKS
    if task.missing_program:
        severity = NOTE if is_check else WARNING
        told = "%s did not run: %s is not installed on the worker." % (does, task.missing_program)
        return [Finding(severity, task.id, told)]
    if task.reason == "no_space":
        return [Finding(WARNING, task.id, "%s was cut off: the worker's disk is full." % does)]
    if not task.could_run:
        told = "%s did not run: its command cannot be started on the worker." % does
        return [Finding(WARNING, task.id, told)]
    if task.timed_out:
        return [Finding(WARNING, task.id, "%s did not end in time, so its evidence is missing." % does)]
    how = _exit(task.exit_code)
    if task.role == "agent":
        return [Finding(NOTE, task.id, "%s did not come to an end: it exited with %s." % (does, how))]
    if is_check:
        return _check(task, evidence)
    file, line = place_in(task.tail, evidence.paths)
    if task.role not in _BUILDING:
        return [Finding(WARNING, task.id, "%s fails (%s)." % (does, how), file, line)]
    why = cause(task.tail)
    if task.role != "test" and task.problems:
        first = next((one for one in task.problems if one.file in evidence.paths), task.problems[0])
        file, line, why = first.file, first.line, " (%s)" % first.message.rstrip(".")
    compared = evidence.compared.get(task.id)
    base_fails = evidence.base_built is False and task.role != "test"
    if base_fails or (compared is not None and compared.base is not None and not compared.base.passed):
        told = "%s fails on the head (%s), and on the base as well%s." % (does, how, why)
        return [Finding(WARNING, task.id, told, file, line)]
    if evidence.base_built and task.role != "test":
        told = "%s fails on the head (%s) and not on the base%s." % (does, how, why)
        return [Finding(ERROR, task.id, told, file, line)]
    told = "%s fails on the head (%s)%s; whether it does on the base is not known." % (does, how, why)
    return [Finding(ERROR, task.id, told, file, line)]


def _check(task: Outcome, evidence: Evidence) -> List[Finding]:
    """Return what a linter or type checker reports that the base does not have."""
    does, how = _name(task), _exit(task.exit_code)
    compared = evidence.compared.get(task.id)
    base = compared.base if compared is not None else None
    if task.missing_tool and (base is None or not base.passed):
        told = "%s did not run: %s is not installed on the worker." % (does, task.missing_tool)
        return [Finding(NOTE, task.id, told)]
    if base is None or base.timed_out:
        file, line = _first_place(task.problems, evidence.paths)
        unknown = "; whether it does on the base is not known" if evidence.has_base else ""
        return [Finding(WARNING, task.id, "%s fails (%s)%s." % (does, how, unknown), file, line)]
    if base.exit_code in _NO_PROGRAM:
        told = "%s fails (%s), and its program cannot run on the base." % (does, how)
        file, line = _first_place(task.problems, evidence.paths)
        severity = WARNING if file or not task.problems else NOTE  # the others may be as old as the base
        return [Finding(severity, task.id, told, file, line)]
    if not task.problems:
        if base.passed:
            told = "%s fails on the head (%s) and not on the base." % (does, how)
            return [Finding(WARNING, task.id, told, *place_in(task.tail, evidence.paths))]
        told = "%s fails on the head (%s) and on the base; its output does not tell what is new." % (
            does,
            how,
        )
        return [Finding(NOTE, task.id, told)]
    new = new_problems(task.problems, base.problems, renames(evidence.changed))
    if not new:
        told = "%s fails on the head and on the base; none of its %d problems is new."
        return [Finding(NOTE, task.id, told % (does, len(task.problems)))]
    first = next((one for one in new if one.file in evidence.paths), new[0])
    count = "a new problem" if len(new) == 1 else "%d new problems" % len(new)
    told = "%s reports %s: %s." % (does, count, first.message.rstrip("."))
    return [Finding(WARNING, task.id, told, first.file, first.line)]


def _first_place(
    problems: Sequence[Problem], changed: Sequence[str]
) -> "tuple[Optional[str], Optional[int]]":
    for problem in problems:
        if problem.file in changed:
            return problem.file, problem.line
    return None, None


def _missing(task: Outcome) -> List[Finding]:
    if task.state == SKIPPED and task.when == "failure":
        return []  # nothing failed, so there was nothing for it to do
    does = _name(task)
    if task.state == SKIPPED:
        why = " because %s" % task.reason if task.reason else ""
        told = "%s did not run%s, so its evidence is missing." % (does, why)
    elif task.state == CANCELLED:
        told = "%s was cancelled, so its evidence is missing." % does
    else:
        told = "%s has not ended, so its evidence is missing." % does
    return [Finding(WARNING, task.id, told)]


def _is_consequence(task: Outcome, outcomes: Sequence[Outcome]) -> bool:
    """Tell whether a task did not run because an installation or build failed, which is said already."""
    failed = any(one.role in ("install", "build", "base") and one.state == FAILED for one in outcomes)
    waited = task.reason.endswith((" failed", " did not run"))
    return failed and waited and task.state == SKIPPED and task.role in ("build", "test", "proof", *_CHECKS)


def _consequences(outcomes: Sequence[Outcome]) -> List[Finding]:
    """Return one finding for all tasks that a failed one kept from running."""
    kept: Dict[str, List[str]] = {}
    for task in outcomes:
        if _is_consequence(task, outcomes):
            kept.setdefault(task.reason, []).append("the proof" if task.role == "proof" else task.name)
    return [Finding(NOTE, "", "Not run, because %s: %s." % (why, few(names))) for why, names in kept.items()]


def _without_repetition(findings: Sequence[Finding]) -> List[Finding]:
    """Return the findings without those of checks at the place of an error: both say the same."""
    places = {(one.file, one.line) for one in findings if one.severity == ERROR and one.line}
    return [one for one in findings if one.severity == ERROR or (one.file, one.line) not in places]


def _conflicts(task: Outcome, answer: Optional[Mapping[str, Any]]) -> List[Finding]:
    if task.state == SUCCEEDED:
        return []
    files = list(answer.get("files") or []) if answer else []
    if task.state == FAILED and files:
        return [Finding(WARNING, task.id, "%s conflicts with the base." % name, file=name) for name in files]
    if task.state == FAILED and answer and answer.get("clean") is False:
        return [Finding(WARNING, task.id, "The head conflicts with the base: %s." % answer.get("reason", ""))]
    if task.state == FAILED:
        return [
            Finding(WARNING, task.id, "Whether the head conflicts with the base could not be determined.")
        ]
    return _missing(task)


def _agent(task: Outcome, answer: Optional[Mapping[str, Any]]) -> List[Finding]:
    # An opinion: it can ask for work, and never makes a verdict fail.
    return [
        Finding(
            NOTE if item.get("severity") == NOTE else WARNING,
            task.id,
            str(item["message"]),
            item["file"],
            item["line"],
            opinion=not item.get("verified"),
        )
        for item in (answer or {}).get("findings") or []
    ]


# What the tests prove


def _proof(task: Outcome, evidence: Evidence, differences: Mapping[str, Difference]) -> List[Finding]:
    answer = evidence.proof
    if task.state not in (SUCCEEDED, FAILED):
        return _missing(task)
    complete = answer is not None and task.exit_code in (0, 1) and not task.timed_out
    findings: List[Finding] = []
    if not complete:
        how = "did not end in time" if task.timed_out else "could not be made (%s)" % _exit(task.exit_code)
        findings.append(
            Finding(WARNING, task.id, "The behavioural proof %s, so its evidence is missing." % how)
        )
    if answer is None:
        return findings
    if not answer.get("base_built", True):
        why = answer.get("base_error") or "its setup fails"
        told = "The base could not be built, so the changed tests prove nothing: %s." % str(why).rstrip(".")
        findings.append(Finding(NOTE, task.id, told))
    explained = Results(
        tuple(
            case
            for difference in differences.values()
            for case in (*difference.to_blame, *difference.already_failing, *difference.flaky)
            if not case.whole_file or case in difference.to_blame
        )
    )
    files = answer.get("files") or []
    if any(_ran_nothing(one, evidence) for one in evidence.outcomes):
        files = [item for item in files if item.get("result") not in ("still_fails", "fails")]  # said already
    return findings + about_files(task.id, files, explained)


def _ran_nothing(task: Outcome, evidence: Evidence) -> bool:
    """Tell whether a test run failed before any test; the files of the proof then fail as well."""
    results = evidence.tests.get(task.id)
    return task.role == "test" and task.state == FAILED and results is not None and not results.cases


# Words


def _name(task: Outcome) -> str:
    return "%s (%s)" % (_NAMES[task.role], task.name) if task.role in _NAMES else task.name


def _that_pass(cases: Sequence[Case]) -> str:
    return "1 test that passes" if len(cases) == 1 else "%d tests that pass" % len(cases)


def place_in(tail: str, changed: Sequence[str]) -> "tuple[Optional[str], Optional[int]]":
    """Return the first `file:line` in the last lines of a failure that is in a changed file, if any."""
    for line in tail.splitlines():
        file, number = place([line])
        if file in changed:
            return file, number
    return None, None


def _exit(code: Optional[int]) -> str:
    if code is None:
        return "no exit code"
    return "signal %d" % -code if code < 0 else "exit code %d" % code
