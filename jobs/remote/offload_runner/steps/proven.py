"""What the tests prove about a change, and what the change takes from them. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, Mapping, Optional, Sequence, Set

from jobs.remote.offload_runner.protocol import FAILED, SUCCEEDED
from jobs.remote.offload_runner.steps import sources
from jobs.remote.offload_runner.steps.difference import compare
from jobs.remote.offload_runner.steps.findings import ERROR, NOTE, WARNING, Evidence, Finding
from jobs.remote.offload_runner.steps.results import Results

_MOST_IN_LINE = 5
_MOST_ALIKE = 3  # more findings that differ only in the file are one

# By result of a changed test file: the severity, the words for one file and for many.
_PROVED = {
    "regression": (
        ERROR,
        "%s passes on the base and fails on the head.",
        "%d test files pass on the base and fail on the head: %s.",
    ),
    "still_fails": (
        WARNING,
        "%s, a test that changed or uses changed files, fails on the head, and on the base too.",
        "%d test files that changed or use changed files fail on the head, and on the base too: %s.",
    ),
    "fails": (
        WARNING,
        "%s, a test that changed or uses changed files, fails on the head.",
        "%d test files that changed or use changed files fail on the head: %s.",
    ),
    "not_run": (
        WARNING,
        "%s was changed, and none of its tests runs.",
        "%d test files were changed, and none of their tests runs: %s.",
    ),
}


def proves(evidence: Evidence) -> List[str]:
    """Return the test files that fail on the base and pass on the head."""
    answer = evidence.proof or {}
    if not answer.get("source_changed", True):
        return []  # both trees have the same source, so a difference comes from elsewhere
    flaky = flaky_tests(evidence)
    return [
        item["path"]
        for item in answer.get("files") or []
        if item.get("result") == "proof" and not _is_flaky(item, flaky)
    ]


def flaky_tests(evidence: Evidence) -> Set[str]:
    """Return the tests of the head that failed and passed when they were run again."""
    return {
        case.title
        for name, compared in evidence.compared.items()
        for case in compare(
            evidence.tests.get(name, Results()), None, [r.results for r in compared.reruns]
        ).flaky
    }


def _is_flaky(item: Mapping[str, Any], flaky: Set[str]) -> bool:
    tests = (item.get("tests") or {}).get("proof") or []
    return bool(tests) and flaky.issuperset(tests)


def about_files(task: str, files: Sequence[Mapping[str, Any]], explained: Results) -> List[Finding]:
    """Return what counts of the proof's test files (of `proof.json`), except those with explained tests."""
    findings: List[Finding] = []
    for result, (severity, told, of_many) in _PROVED.items():
        alike = [item for item in files if item.get("result") == result]
        paths = [str(item["path"]) for item in alike if not _explains(explained, item)]
        if len(paths) > _MOST_ALIKE:
            findings.append(Finding(severity, task, of_many % (len(paths), few(paths)), file=paths[0]))
        else:
            findings += [Finding(severity, task, told % path, file=path) for path in paths]
    return findings


def _explains(explained: Results, item: Mapping[str, Any]) -> bool:
    """Tell whether these tests are those that fail in a file of the proof."""
    path, failing = str(item["path"]), (item.get("tests") or {}).get(item["result"])
    if failing and {case.title for case in explained.cases}.issuperset(failing):
        return True
    return bool(explained.in_file(path)) or any(case.at_file == path for case in explained.cases)


def few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _MOST_IN_LINE
    return ", ".join(names[:_MOST_IN_LINE]) + (" and %d more" % more if more > 0 else "")


def is_proven(evidence: Evidence) -> Optional[bool]:
    """Return whether a test proves the change; None when it is not known, or there is nothing to prove."""
    if not evidence.has_base or not evidence.changed:
        return None
    fixed = any(
        base.results.failing and evidence.tests.get(name, Results()).known
        for name, compared in evidence.compared.items()
        for base in [compared.base]
        if base is not None and compare(evidence.tests.get(name, Results()), base.results).fixed
    )
    if proves(evidence) or fixed:
        return True
    ran = any(task.role == "test" and task.state in (SUCCEEDED, FAILED) for task in evidence.outcomes)
    if not ran or not any(sources.is_source(path) for path in evidence.paths):
        return None
    answer = evidence.proof or {}
    if not answer.get("base_built", True):
        return None
    tests_changed = bool(evidence.inline) or any(sources.is_test(path) for path in evidence.paths)
    return False if answer.get("files") or not tests_changed else None


def about_tests(evidence: Evidence) -> List[Finding]:
    """Return what the change does to its tests, and whether one of them proves it."""
    findings = [_weakening(item, evidence) for item in evidence.weakened]
    if evidence.reverts:
        told = "The change takes back commit %s exactly, with its tests." % evidence.reverts[:10]
        findings.append(Finding(NOTE, "", told))
    if not evidence.has_base or not evidence.changed:
        return findings
    if is_proven(evidence) is False:
        files = (evidence.proof or {}).get("files") or []
        if any(item.get("result") == "proves_nothing" for item in files):
            told = "No test proves this change: every changed test passes on the base as well."
            findings.append(Finding(NOTE, "proof", told))
        elif not files:
            findings.append(Finding(NOTE, "", "No test proves this change: it changes source and no test."))
    elif evidence.inline and is_proven(evidence) is None:
        told = "The tests in %s changed with the source there; whether they fail without it was not tried."
        findings.append(Finding(NOTE, "", told % few(evidence.inline)))
    findings += _uncovered(evidence.hunks)
    return findings


def _weakening(item: Mapping[str, Any], evidence: Evidence) -> Finding:
    path, tests = str(item["file"]), [str(name) for name in item["tests"]]
    named = few(tests)
    deleted_source = any(
        one.get("status") == "D" and sources.is_source(str(one["path"])) for one in evidence.changed
    )
    severity = WARNING
    if item["kind"] == "removed":
        what = "a test" if len(tests) == 1 else "%d tests" % len(tests)
        code = [] if evidence.reverts else item.get("code") or []
        tested = " together with what %s (%s)" % ("it tests" if len(tests) == 1 else "they test", few(code))
        told = "The change removes %s%s: %s." % (what, tested if code else "", named)
        severity = NOTE if deleted_source or evidence.reverts or item.get("code") else WARNING
    elif item["kind"] == "assertions":
        told = "The change takes assertions from tests: %s." % named
    elif item["kind"] == "skipped":
        told = "The change skips more tests in %s, or expects more to fail, than the base does." % path
    elif item["kind"] == "unread":
        told = "Whether the change weakens the tests in %s is not known: it changes more than is read." % path
    else:
        told = "The change leaves `only` in %s, so the other tests there do not run." % path
    return Finding(severity, "", told, file=path)


def _uncovered(answer: Optional[Mapping[str, Any]]) -> List[Finding]:
    findings = []
    for item in (answer or {}).get("hunks") or []:
        if item.get("result") == "uncovered":
            first, last = item["first"], item["last"]
            lines = "%d" % first if first == last else "%d-%d" % (first, last)
            what = "can be removed" if item.get("whole") else "%s can be reverted" % lines
            told = "%s %s and every test still passes." % (item["path"], what)
            findings.append(Finding(NOTE, "hunks", told, file=item["path"], line=first))
    return findings


def about_weakened(items: Sequence[Mapping[str, Any]], evidence: Evidence) -> List[Finding]:
    """Return what entries of `sources.weakened` say of a fix, whose changes against the head they are."""
    found = []
    for item in items:
        finding = _weakening(item, evidence)
        told = finding.message.replace("the base", "the head").replace("he change", "he fix")
        found.append(replace(finding, severity=WARNING, message=told))
    return found
