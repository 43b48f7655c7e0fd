"""What a job's `assessment.json` says: tests by name, what is proven, what was not checked.

The file comes from the worker: its types are checked, its texts only shown. Schema: `docs/playbooks.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from pydantic import BaseModel, ValidationError

from jobs import execution
from jobs.models import Job

MOST_NAMED = 20
# Key in the file -> (words, icon, tone), in the order of the page.
TEST_GROUPS: Mapping[str, tuple[str, str, str]] = {
    "broken": ("Tests broken by this change", "cross", "bad"),
    "new_failing": ("Tests new and failing", "cross", "bad"),
    "unknown": ("Tests failing, unknown on the base", "cross", "bad"),
    "not_run": ("Tests not run on the head", "alert", "warn"),
    "flaky": ("Tests flaky", "alert", "warn"),
    "already_failing": ("Tests already failing on the base", "dot", "quiet"),
    "removed": ("Tests removed", "dot", "quiet"),
    "fixed": ("Tests fixed by this change", "check", "good"),
}
PROOFS: Mapping[str, tuple[str, str, str]] = {
    "proof": ("fails on the base, passes on the head", "check", "good"),
    "proves_nothing": ("passes on both: proves nothing about this change", "alert", "warn"),
    "still_fails": ("fails on both", "cross", "bad"),
    "regression": ("passes on the base, fails on the head", "cross", "bad"),
    "passes": ("passes on the head; the base was not tried", "dot", "quiet"),
    "fails": ("fails on the head; the base was not tried", "cross", "bad"),
    "not_run": ("no test of it ran", "alert", "warn"),
}


class _Case(BaseModel):
    name: str = ""
    message: str | None = None


class _Tests(BaseModel):
    total: int = 0
    passed: int = 0
    skipped: int = 0
    broken: list[_Case] = []
    new_failing: list[_Case] = []
    unknown: list[_Case] = []
    not_run: list[_Case] = []
    flaky: list[_Case] = []
    already_failing: list[_Case] = []
    removed: list[_Case] = []
    fixed: list[_Case] = []


class _ProofFile(BaseModel):
    path: str = ""
    result: str = ""


class _Proof(BaseModel):
    files: list[_ProofFile] = []


class _Hunk(BaseModel):
    path: str = ""
    first: int = 0
    last: int = 0
    result: str = ""


class _Hunks(BaseModel):
    not_tried: int = 0
    hunks: list[_Hunk] = []


class _Assessment(BaseModel):
    tests: dict[str, _Tests] = {}
    proof: _Proof | None = None
    hunks: _Hunks | None = None
    not_checked: list[str] = []


@dataclass(frozen=True)
class Line:
    """One line of the evidence: what it is about, and what was seen of it."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class EvidenceGroup:
    """Lines of one kind. `total`: how many there are; the page names the first."""

    heading: str
    icon: str
    tone: str
    total: int
    lines: Sequence[Line]

    @property
    def more(self) -> int:
        """Return how many lines are not named."""
        return self.total - len(self.lines)


def load_evidence(job: Job) -> list[EvidenceGroup]:
    """Return what was seen of an archived job; nothing when its file is missing or not as described."""
    data = execution.read_assessment(job) if job.archived_at else b""
    try:
        found = _Assessment.model_validate_json(data) if data else _Assessment()
    except ValidationError:
        return []
    return [*_tests(found), *_proof(found), *_hunks(found), *_not_checked(found)]


def _group(words: tuple[str, str, str], lines: Sequence[Line]) -> EvidenceGroup:
    return EvidenceGroup(*words, total=len(lines), lines=lines[:MOST_NAMED])


def _tests(found: _Assessment) -> list[EvidenceGroup]:
    groups = []
    for key, words in TEST_GROUPS.items():
        cases = [case for tests in found.tests.values() for case in getattr(tests, key)]
        if cases:
            lines = [Line(case.name, (case.message or "").strip().split("\n")[0]) for case in cases]
            groups.append(_group(words, lines))
    return groups


def _proof(found: _Assessment) -> list[EvidenceGroup]:
    files = found.proof.files if found.proof else []
    return [
        _group(
            (f"Changed tests: {words[0]}", *words[1:]),
            [Line(file.path) for file in files if file.result == key],
        )
        for key, words in PROOFS.items()
        if any(file.result == key for file in files)
    ]


def _hunks(found: _Assessment) -> list[EvidenceGroup]:
    hunks = found.hunks.hunks if found.hunks else []
    bare = [hunk for hunk in hunks if hunk.result == "uncovered"]
    groups = []
    if bare:
        lines = [Line(f"{hunk.path}:{hunk.first}-{hunk.last}") for hunk in bare]
        groups.append(_group(("Unproven lines: no test fails without them", "alert", "warn"), lines))
    elif hunks:
        groups.append(_group(("Each changed part that was tried is proven by a test", "check", "good"), []))
    return groups


def _not_checked(found: _Assessment) -> list[EvidenceGroup]:
    lines = [Line(message) for message in islice(found.not_checked, 200)]
    return [_group(("Not checked", "dot", "quiet"), lines)] if lines else []
