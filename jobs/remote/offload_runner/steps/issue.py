"""An issue as the work of rounds: what the agent is told, and which of its tests fail as the code is now.

`rounds.json` of an implementation has `tests_at` as well: the commit of the test that was proven to fail,
"" before there is one. A round made before that has `test: true`, and only its tests are taken.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.git.command import shown, split, text
from jobs.remote.offload_runner.protocol import SUCCEEDED
from jobs.remote.offload_runner.steps import sources
from jobs.remote.offload_runner.steps.findings import ERROR, NOTE, Compared, Evidence, Finding, Outcome
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.results import PASSED, Case, Results
from jobs.remote.offload_runner.steps.trees import Run

_RELATED = {"parents": "Parent", "children": "Child"}
# What a forge reads in a commit's message: closing words count only before one of these.
_REFERENCE = re.compile(r"[#!&](?=\d)|\bGH-(?=\d)|://|@(?=\w)", re.IGNORECASE)
_MOST_CASES = 200
_MOST_LINES = 400
_LINE = 400
_TITLE = 200
_TEST_ROUND = """\
Write the test, and only that: one or several tests that fail as long as the issue is not implemented, in new
or existing test files, where this repository keeps its tests. Change nothing that decides how tests run
(conftest.py, Makefile, package.json, pyproject.toml and the like), and implement nothing yet."""
_CHANGE_ROUND = """\
The test is there, and was seen to fail: %s. Implement what the issue asks for. Leave the tests as
they are."""


def topic_of(issue: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the topic of `rounds.json` that an issue is. Its texts were written by other people."""
    lines = str(issue.get("body") or "").splitlines()
    for kind in ("parents", "children"):
        for one in issue.get(kind) or []:
            told = "%s %s: %s (%s)" % (_RELATED[kind], one["reference"], one["title"],
                                       one["state"])  # fmt: skip
            lines += ["", told, *("  " + line for line in str(one["body"]).splitlines()[:40])]
    for author, said in issue.get("comments") or []:
        lines += ["", "%s:" % author, *("  " + line for line in str(said).splitlines())]
    title = "#%s %s" % (issue["number"], harmless(str(issue.get("title") or "")))
    return {
        "kind": "issue",
        "task": "",
        "title": shown(" ".join(title.split()))[:_TITLE],
        "lines": [shown(line)[:_LINE] for line in lines[:_MOST_LINES]],
        "cases": [],
        "paths": [],
    }


def harmless(text: str) -> str:
    """Return a text that refers to nothing and mentions no user in a commit's message."""
    return _REFERENCE.sub(" ", text)


def is_one(state: Mapping[str, Any]) -> bool:
    """Tell whether the rounds are those of an issue."""
    return "tests_at" in state


def wants_test(state: Mapping[str, Any]) -> bool:
    """Tell whether the next round is for the test: none was proven to fail yet."""
    return state.get("tests_at") == ""


def instructions(state: Mapping[str, Any]) -> List[str]:
    """Return what the agent is to do in the next round; nothing for a fix."""
    if not is_one(state):
        return []
    told = _TEST_ROUND
    if not wants_test(state):
        failing = [case["name"] for topic in state["to_do"] for case in topic["cases"]]
        told = _CHANGE_ROUND % (", ".join(failing[:5]) or "its command fails")
    return ["## What to do in this round", "", *told.splitlines(), ""]


def subject(state: Mapping[str, Any]) -> str:
    """Return the subject of the next round's commit."""
    title = state["to_do"][0]["title"]
    return "%s %s" % ("Add a failing test for" if wants_test(state) else "Implement", title)


def tests_only(job: Job, commit: str, tree: str, env: Mapping[str, str]) -> Tuple[str, List[str]]:
    """Return the tree of `commit` with only the test files of `tree`, and the paths that are left out.

    The tree is "" when there is no test file. `env` names an index that may be written.
    """
    raw = job.git.out("diff-tree", "-r", "--raw", "--no-renames", "-z", commit, tree)
    parts = split(raw)
    taken: List[bytes] = []
    left_out: List[str] = []
    for at in range(0, len(parts), 2):
        about, name = parts[at : at + 2]
        path = text(name)
        if sources.is_test(path) and not sources.is_test_setting(path):
            _, mode, _, blob, _ = about.split(b" ")
            taken.append(b"%s %s\t%s" % (mode, blob, name))
        else:
            left_out.append(shown(path))
    if not taken:
        return "", left_out
    job.git.run("read-tree", commit, env=env)
    job.git.run("update-index", "-z", "--index-info", input=b"\0".join(taken) + b"\0", env=env)
    return job.git.run("write-tree", env=env).stdout.decode("ascii").strip(), left_out


def fails_now(outcome: Outcome, before: Results, runs: Sequence[Run]) -> Optional[Dict[str, Any]]:
    """Return the topic of what fails with a round's tests in every run, and did not before; None if nothing.

    `outcome` and `before`: the task as it ran without them. Pure.
    """
    if not runs or any(run.timed_out or run.passed for run in runs):
        return None
    known = {case.key for case in before.failing}
    found = [case for case in runs[0].results.failing if case.key not in known]
    for run in runs[1:]:
        again = {case.key for case in run.results.failing}
        found = [case for case in found if case.key in again]
    if not found and (outcome.state != SUCCEEDED or any(run.results.failing for run in runs)):
        return None
    said = found or runs[0].results.failing
    lines = [
        line for case in said[:10] for line in (case.title + ":", *("  " + one for one in case.lines[-15:]))
    ]
    if outcome.state == SUCCEEDED and all(case.whole_file for case in found):
        found = []  # what could not be loaded or built has names only when it is: the command says it
    if not found:
        title = "%s fails with the test, and succeeds without it" % outcome.name
    elif len(found) == 1:
        title = "%s fails before the change (%s)" % (found[0].title, outcome.id)
    else:
        title = "%d tests fail before the change (%s)" % (len(found), outcome.id)
    return {
        "kind": "tests" if found else "command",
        "task": outcome.id,
        "title": shown(title)[:_TITLE],
        "lines": [shown(line)[:_LINE] for line in lines or list(runs[0].tail)][:40],
        "cases": [case.to_json() for case in found[:_MOST_CASES]],
        "paths": [],
    }


def compared(evidence: Evidence) -> Dict[str, Compared]:
    """Return what ran on the head as runs of the base: the head of an implementation is the base."""
    return {
        one.id: Compared(
            Run(
                one.exit_code,
                one.seconds or 0.0,
                one.timed_out,
                tuple(one.tail.splitlines()),
                evidence.tests.get(one.id, Results()),
                tuple(one.problems),
            )
        )
        for one in evidence.outcomes
        if one.role in ("build", "test", "lint", "types") and one.exit_code is not None and one.could_run
    }


def new_tests(evidence: Evidence, task: str) -> List[Case]:
    """Return the tests of a task that pass and were not there before."""
    base = evidence.compared[task].base if task in evidence.compared else None
    known = {case.key for case in base.results.cases} if base is not None else set()
    cases = evidence.tests.get(task, Results()).cases
    return [case for case in cases if case.outcome == PASSED and case.key not in known]


def about_nothing(state: Mapping[str, Any]) -> List[Finding]:
    """Return what is to be said when there is no commit."""
    return [Finding(ERROR, "triage", "Nothing was implemented: %s." % state["why"])]


def about(state: Mapping[str, Any], evidence: Evidence, commands: Sequence[str]) -> List[Finding]:
    """Return what counts against an implementation besides its targets. `commands`: targets without names."""
    if wants_test(state):
        told = "No test of the agent fails without an implementation, so none was made"
        return [Finding(ERROR, "triage", "%s%s." % (told, ": %s" % state["why"] if state["why"] else ""))]
    if state["tests_at"] == evidence.sha:
        why = str(state["why"] or "the rounds did not come to an end")
        return [Finding(ERROR, "triage", "There is a test that fails, and no implementation: %s." % why)]
    found = [
        Finding(ERROR, task, "%s was to succeed with the new test, and no new test is seen to pass." % task)
        for task in commands
        if evidence.tests.get(task, Results()).known and not new_tests(evidence, task)
    ]
    told = "The test was written first, as `%s`, and failed on the base: see the rounds."
    return [*found, Finding(NOTE, "triage", told % str(state["tests_at"])[:10])]


def in_its_words(findings: Sequence[Finding]) -> List[Finding]:
    """Return findings about a fix as those about an implementation."""
    words = (
        ("The fix ", "The implementation "),
        ("the fix", "the implementation"),
        ("was to be repaired", "was to pass"),
        ("Repaired, for it failed", "Implemented, for it failed"),
    )
    changed = []
    for finding in findings:
        message = finding.message
        for old, new in words:
            message = message.replace(old, new)
        changed.append(
            Finding(finding.severity, finding.task, message, finding.file, finding.line, finding.opinion)
        )
    return changed
