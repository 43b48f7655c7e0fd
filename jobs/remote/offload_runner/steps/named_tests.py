"""Findings that name tests: which broke, which are flaky, which are gone. Pure."""

from __future__ import annotations

import re
from typing import List, Sequence

from jobs.remote.offload_runner.steps.difference import Difference
from jobs.remote.offload_runner.steps.findings import ERROR, NOTE, WARNING, Evidence, Finding, Outcome
from jobs.remote.offload_runner.steps.proven import few
from jobs.remote.offload_runner.steps.results import Case

_MOST_NAMED = 10
_MOST_CAUSE = 300


def about_tests_by_name(task: Outcome, difference: Difference, base_passed: bool) -> List[Finding]:
    """Return what happened to the tests of one run; `base_passed`: the base's run succeeds."""
    findings: List[Finding] = []
    using = " with the base's test command" if task.of_base else ""
    before = "the tests of the base pass" if base_passed else "whether it does on the base is not known"
    for cases, told in (
        (difference.broken, "passes on the base and fails on the head" + using),
        (difference.new_failing, "is new and fails" + using),
        (difference.unknown, "fails%s; %s" % (using, before)),
    ):
        cases = _without_parents(cases)
        for case in cases[:_MOST_NAMED]:
            file = case.at_file or case.file or None
            line = case.at_line if case.at_file else None
            findings.append(Finding(ERROR, task.id, _sentence(task, case, told, difference), file, line))
        if len(cases) > _MOST_NAMED:
            more = len(cases) - _MOST_NAMED
            findings.append(Finding(ERROR, task.id, "%d more tests: each %s." % (more, told)))
    if difference.already_failing:
        told = "%s on the base as well: %s." % (
            fail(difference.already_failing).capitalize(),
            _list(difference.already_failing),
        )
        findings.append(Finding(NOTE, task.id, told))
    if difference.flaky:
        told = "Flaky, for it failed once and passed when it was run again: %s."
        if len(difference.flaky) > 1:
            told = "Flaky, for they failed once and passed when they were run again: %s."
        findings.append(Finding(NOTE, task.id, told % _list(difference.flaky)))
    if difference.fixed:
        told = "Fixed by this change: %s." % _list(difference.fixed)
        findings.append(Finding(NOTE, task.id, told))
    return findings


def _sentence(task: Outcome, case: Case, told: str, difference: Difference) -> str:
    """Return what happened to a failing test, and why."""
    why = ": %s" % case.message.rstrip(".") if case.message else ""
    if case.whole_file:
        why = " (%s)" % case.message.rstrip(".") if case.message else task.cause
        after = "; its tests pass on the base" if case in difference.broken else ""
        if not case.file and case.suite and case.name != case.suite:
            return "%s fails on the head%s%s." % (case.title, why, after)  # a hook
        what = "does not build" if case.suite else "cannot be loaded"
        return "%s %s on the head%s%s." % (case.title, what, why, after)
    if "XPASS(strict)" in case.message:
        return "%s passes although it is marked as one that must fail (xfail, strict)." % case.title
    origin = difference.origins.get(case.key)
    if origin is not None and case in difference.broken:
        told = told.replace("on the base", "on the base (as %s)" % origin.title, 1)
    return "%s %s%s." % (case.title, told, why)


def _without_parents(cases: Sequence[Case]) -> List[Case]:
    """Return the tests without those that only fail because a subtest of theirs does."""
    parents = {
        (case.file, case.suite, name)
        for case in cases
        for end, letter in enumerate(case.name)
        if letter == "/" and (name := case.name[:end])
    }
    return [case for case in cases if (case.file, case.suite, case.name) not in parents]


def about_removed(task: Outcome, difference: Difference, evidence: Evidence) -> List[Finding]:
    """Return a finding when fewer tests run than on the base, unless the changed test files explain it."""
    told = {str(item["file"]) for item in evidence.weakened}
    gone = [case for case in difference.removed if case.file not in told]
    if not gone or len(difference.removed) <= len(difference.added):
        return []
    gone = _without_parents(gone)
    what = "A test that runs" if len(gone) == 1 else "%d tests that run" % len(gone)
    verb = "does" if len(gone) == 1 else "do"
    message = "%s on the base %s not run on the head: %s." % (what, verb, _list(gone))
    return [Finding(NOTE if evidence.reverts else WARNING, task.id, message)]


def fail(cases: Sequence[Case]) -> str:
    """Return how many tests fail, as the begin of a sentence."""
    return "1 test fails" if len(cases) == 1 else "%d tests fail" % len(cases)


def _list(cases: Sequence[Case]) -> str:
    return few([case.title for case in cases])


_GATES = re.compile(
    r"^.{0,200}coverage threshold for .*|^(?:ERROR: )?Coverage for .{0,100} does not meet .*"
    r"|^(?:FAIL )?Required test coverage of .*",
    re.MULTILINE,
)


def missed_gate(tail: str) -> str:
    """Return what a run says of a coverage threshold that it misses, as the end of a phrase."""
    found = _GATES.search(tail)
    return ": %s" % found[0].strip().rstrip(".")[:_MOST_CAUSE] if found else ""


_CAUSE = re.compile(
    r"(?:E +)?(?P<cause>[\w.]{0,200}(?:Error|Exception)\b.*|.*\berror: .*|.*: Assertion [`'].* failed\..*)"
)


def cause(said: str) -> str:
    """Return the last line of an output that says what is wrong, as the end of a phrase."""
    for line in reversed(said.splitlines()):
        match = _CAUSE.match(line[:_MOST_CAUSE])
        if match:
            return " (%s)" % match["cause"].strip().rstrip(".")
    return ""
