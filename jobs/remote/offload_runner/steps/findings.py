"""The words of a verdict: what it is made from (`Evidence`) and what it consists of (`Judgement`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from jobs.remote.offload_runner.steps.difference import Difference
from jobs.remote.offload_runner.steps.problems import Problem
from jobs.remote.offload_runner.steps.results import Results
from jobs.remote.offload_runner.steps.trees import Run

PASS = "pass"
NEEDS_WORK = "needs_work"
FAIL = "fail"

ERROR = "error"
WARNING = "warning"
NOTE = "note"

_NO_PROGRAM = ("not_found", "cannot_run")


@dataclass(frozen=True)
class Outcome:
    """What one task came to. `state` is a task state; `when` and `missing_program` come from its plan.

    `missing_tool` is a program that the command itself could not find, `cause` the last error in its log,
    `problems` what a checker or compiler reported, `of_base` is the id of the task that this one repeats with
    the base's own test command.
    """

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
    missing_tool: str = ""
    cause: str = ""
    of_base: str = ""
    problems: Tuple[Problem, ...] = ()

    @property
    def timed_out(self) -> bool:
        """Tell whether it was ended because it ran for its limit."""
        return self.reason == "timeout"

    @property
    def could_run(self) -> bool:
        """Tell whether the failure says something about the commit, and not about the worker."""
        return not self.missing_program and self.reason not in _NO_PROGRAM and self.reason != "no_space"


@dataclass(frozen=True)
class Compared:
    """The base's run of a task's command (None: not run), and further runs of the head's."""

    base: Optional[Run] = None
    reruns: Tuple[Run, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One thing to know about the commit. `opinion`: an agent says so, and its place was not verified."""

    severity: str
    task: str
    message: str
    file: Optional[str] = None
    line: Optional[int] = None
    opinion: bool = False

    def to_json(self) -> Dict[str, Any]:
        """Return the finding as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Judgement:
    """A verdict, its findings, and the tests by task that it rests on."""

    verdict: str
    findings: List[Finding]
    differences: Mapping[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What there is to judge by. `proof`, `hunks`, `conflicts`, `agent` are the answers of the steps.

    `tests` holds the head's results by task, `compared` the base's runs. `base_built` is None when the base
    was not needed. `weakened` is what `removals.with_code` says of what `sources.weakened` found; `reverts`
    is the commit that the change takes back exactly, with its tests; `inline` are source
    files whose own tests changed. `notes` holds what the plan leaves out:
    {"message", "severity"}. `forge` is what the forge said when the job started: see `playbooks.forge_facts`.
    """

    outcomes: Sequence[Outcome]
    tests: Mapping[str, Results] = field(default_factory=dict)
    compared: Mapping[str, Compared] = field(default_factory=dict)
    base_built: Optional[bool] = None
    base_error: str = ""
    proof: Optional[Mapping[str, Any]] = None
    hunks: Optional[Mapping[str, Any]] = None
    conflicts: Optional[Mapping[str, Any]] = None
    agent: Optional[Mapping[str, Any]] = None
    weakened: Sequence[Mapping[str, Any]] = ()
    reverts: str = ""
    inline: Sequence[str] = ()
    changed: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[Mapping[str, Any]] = ()
    forge: Optional[Mapping[str, Any]] = None
    sha: str = ""
    has_base: bool = True
    empty: bool = False
    lfs: bool = False

    @property
    def paths(self) -> List[str]:
        """Return the changed paths."""
        return [str(item["path"]) for item in self.changed]
