"""From what the tasks came to, to a verdict with its findings. Pure; knows roles, never ids or commands.

    fail        build or tests fail on the head and not on the base, or a test that the base passes fails
    needs_work  anything else that stands in the way, and evidence that is missing
    pass        otherwise

Severities: an `error` makes the verdict fail, a `warning` needs_work, a `note` leaves it as it is.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from jobs.remote.offload_runner.protocol import CANCELLED, FAILED, SKIPPED, SUCCEEDED

PASS = "pass"
NEEDS_WORK = "needs_work"
FAIL = "fail"

ERROR = "error"
WARNING = "warning"
NOTE = "note"
_RANK = {PASS: 0, NEEDS_WORK: 1, FAIL: 2}
_VERDICT = {NOTE: PASS, WARNING: NEEDS_WORK, ERROR: FAIL}

# What must work before anything else can be said; then what the change must not break.
_BUILDING = ("install", "build", "test")
_DOES = {
    "install": "Installing",
    "build": "The build",
    "test": "The test run",
    "lint": "The lint check",
    "types": "The type check",
    "ci": "The forge's own check",
    "agent": "The agent's review",
}
_PLACE = re.compile(r"(?<![\w/.-])((?:[\w@.+-]+/)*[\w@.+-]+\.\w+)(?::|\", line )(\d+)")
_NO_PROGRAM = ("not_found", "cannot_run")


@dataclass(frozen=True)
class Outcome:
    """What one task came to. `state` is a task state; `when` and `missing_program` come from its plan."""

    id: str
    name: str
    role: str
    state: str
    exit_code: Optional[int] = None
    seconds: Optional[float] = None
    reason: str = ""
    tail: str = ""
    command: str = ""
    when: str = "success"
    missing_program: str = ""

    @property
    def timed_out(self) -> bool:
        """Tell whether it was ended because it ran for its limit."""
        return self.reason == "timeout"

    @property
    def could_run(self) -> bool:
        """Tell whether the failure says something of the commit, and not of the worker."""
        return not self.missing_program and self.reason not in _NO_PROGRAM and self.reason != "no_space"


@dataclass(frozen=True)
class Finding:
    """Something to know about the commit."""

    severity: str
    task: str
    message: str
    file: Optional[str] = None
    line: Optional[int] = None

    def to_json(self) -> Dict[str, Any]:
        """Return the finding as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it rests on."""

    verdict: str
    findings: List[Finding]


@dataclass(frozen=True)
class Evidence:
    """What there is to judge by, besides the tasks: `proof`, `conflicts`, `agent` are the steps' answers."""

    outcomes: Sequence[Outcome]
    proof: Optional[Mapping[str, Any]] = None
    conflicts: Optional[Mapping[str, Any]] = None
    agent: Optional[Mapping[str, Any]] = None
    changed: Sequence[str] = ()
    empty: bool = False
    lfs: bool = False


def judge(evidence: Evidence) -> Judgement:
    """Return the verdict: the worst that any finding asks for."""
    findings: List[Finding] = []
    base = next((task for task in evidence.outcomes if task.role == "test_base"), None)
    for task in evidence.outcomes:
        if task.role == "synthesis" or task.role == "test_base":
            continue
        if task.role == "conflicts":
            findings += _conflicts(task, evidence.conflicts)
        elif task.role == "proof":
            findings += _proof(task, evidence.proof)
        elif task.role == "agent" and task.state == SUCCEEDED:
            findings += _agent(task, evidence.agent)
        elif task.state == FAILED:
            findings.append(_failure(task, base, evidence.changed))
        elif task.state != SUCCEEDED:
            findings += _missing(task)
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
    return Judgement(verdict, sorted(findings, key=lambda finding: order[finding.severity]))


def _failure(task: Outcome, base: Optional[Outcome], changed: Sequence[str]) -> Finding:
    does = "%s (%s)" % (_DOES[task.role], task.name) if task.role in _DOES else task.name
    if task.missing_program:
        severity = NOTE if task.role in ("lint", "types") else WARNING
        return Finding(
            severity,
            task.id,
            "%s did not run: %s is not installed on the worker." % (does, task.missing_program),
        )
    if task.reason == "no_space":
        return Finding(WARNING, task.id, "%s was cut off: the worker's disk is full." % does)
    if not task.could_run:
        return Finding(
            WARNING, task.id, "%s did not run: its command cannot be started on the worker." % does
        )
    if task.timed_out:
        return Finding(WARNING, task.id, "%s did not end in time, so its evidence is missing." % does)
    how = _exit(task.exit_code)
    file, line = place(task.tail, changed)
    if task.role == "agent":
        return Finding(NOTE, task.id, "%s did not come to an end: it exited with %s." % (does, how))
    if task.role not in _BUILDING:
        return Finding(WARNING, task.id, "%s fails (%s)." % (does, how), file, line)
    if base is not None and base.state == SUCCEEDED:
        return Finding(
            ERROR, task.id, "%s fails on the head (%s) and not on the base." % (does, how), file, line
        )
    if base is not None and base.state == FAILED and base.could_run and not base.timed_out:
        told = "%s fails on the head (%s); the base does not build and pass its tests either." % (does, how)
        return Finding(WARNING, task.id, told, file, line)
    told = "%s fails on the head (%s); whether it does on the base is not known." % (does, how)
    return Finding(ERROR, task.id, told, file, line)


def _missing(task: Outcome) -> List[Finding]:
    if task.state == SKIPPED and task.when == "failure":
        return []  # nothing failed, so there was nothing for it to do
    does = "%s (%s)" % (_DOES[task.role], task.name) if task.role in _DOES else task.name
    if task.state == SKIPPED:
        why = " because %s" % task.reason if task.reason else ""
        told = "%s did not run%s, so its evidence is missing." % (does, why)
    elif task.state == CANCELLED:
        told = "%s was cancelled, so its evidence is missing." % does
    else:
        told = "%s has not ended, so its evidence is missing." % does
    return [Finding(WARNING, task.id, told)]


def _conflicts(task: Outcome, answer: Optional[Mapping[str, Any]]) -> List[Finding]:
    if task.state == SUCCEEDED:
        return []
    files = list(answer.get("files") or []) if answer else []
    if task.state == FAILED and files:
        return [Finding(WARNING, task.id, "%s conflicts with the base." % name, file=name) for name in files]
    if task.state == FAILED and answer and answer.get("clean") is False:
        return [Finding(WARNING, task.id, "The head conflicts with the base: %s." % answer.get("reason", ""))]
    if task.state == FAILED:
        return [Finding(WARNING, task.id, "Whether the head conflicts with the base could not be found out.")]
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
        )
        for item in (answer or {}).get("findings") or []
    ]


def _proof(task: Outcome, answer: Optional[Mapping[str, Any]]) -> List[Finding]:
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
    for item in answer.get("files") or []:
        severity, told = _PROVED.get(item.get("result"), ("", ""))
        if severity:
            findings.append(Finding(severity, task.id, told % item["path"], file=item["path"]))
    return findings


_PROVED = {
    "regression": (ERROR, "%s passes on the base and fails on the head."),
    "still_fails": (WARNING, "%s, a changed test, fails on the head, and on the base too."),
    "fails": (WARNING, "%s, a changed test, fails on the head."),
    "proves_nothing": (NOTE, "%s passes on the base too, so it proves nothing about this change."),
}


def place(tail: str, changed: Sequence[str]) -> "tuple[Optional[str], Optional[int]]":
    """Return the first `file:line` in the last lines of a failure that is in a changed file, if any."""
    for match in _PLACE.finditer(tail):
        name = match[1][2:] if match[1].startswith("./") else match[1]
        if name in changed:
            return name, int(match[2])
    return None, None


def _exit(code: Optional[int]) -> str:
    if code is None:
        return "no exit code"
    return "signal %d" % -code if code < 0 else "exit code %d" % code
