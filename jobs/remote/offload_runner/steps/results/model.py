"""The result of one test, and of one test run."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

PASSED = "passed"
FAILED = "failed"
ERROR = "error"  # the test could not run: its fixture failed, or its file could not be loaded
SKIPPED = "skipped"
XFAIL = "xfail"  # the test fails, as its author expects
OUTCOMES = (PASSED, FAILED, ERROR, SKIPPED, XFAIL)
FAILING = (FAILED, ERROR)

MOST_CASES = 50_000
_TEXT = 400
_LINES = 30
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# A worse outcome comes first.
_ORDER = {FAILED: 0, ERROR: 1, PASSED: 2, XFAIL: 3, SKIPPED: 4}


@dataclass(frozen=True)
class Case:
    """One test. `file` is what the test runner names; `at_file` and `at_line` are where it fails.

    `whole_file` is true for the error of a file that could not be loaded: none of its tests ran.
    """

    name: str
    outcome: str
    suite: str = ""
    file: str = ""
    seconds: Optional[float] = None
    message: str = ""
    lines: Tuple[str, ...] = ()
    at_file: str = ""
    at_line: Optional[int] = None
    whole_file: bool = False
    occurrence: int = 1

    @property
    def key(self) -> Tuple[str, str, str, int]:
        """Return what identifies the test in two runs, on two trees."""
        return (self.file, self.suite, _ADDRESS.sub("0x", self.name), self.occurrence)

    @property
    def title(self) -> str:
        """Return the test's name for people, e.g. `tests/test_tax.py::TestRate::test_zero`."""
        if self.whole_file:
            return self.file or self.name
        if self.file.endswith(".py"):
            module = self.file[:-3].replace("/", ".")
            # The class, without the module that the file names already.
            inner = self.suite[len(module) + 1 :] if self.suite.startswith(module) else self.suite
            text = "::".join(part for part in (self.file, inner.replace(".", "::"), self.name) if part)
        else:
            joined = " > ".join(part for part in (self.suite, self.name) if part)
            text = ": ".join(part for part in (self.file, joined) if part)
        return text if self.occurrence == 1 else "%s (%d)" % (text, self.occurrence)

    def to_json(self) -> Dict[str, Any]:
        """Return the test as plain data, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None, (), False)}


@dataclass(frozen=True)
class Results:
    """The tests of one run. `complete` is false when a report was cut short or could not be read.

    `named` tells whether passing tests are named too, so that a test that is not in here did not run.
    """

    cases: Tuple[Case, ...] = ()
    complete: bool = True
    named: bool = True
    notes: Tuple[str, ...] = ()
    source: str = ""

    @property
    def known(self) -> bool:
        """Tell whether there are results at all."""
        return bool(self.source)

    @property
    def failing(self) -> List[Case]:
        """Return the tests that failed, or that could not run."""
        return [case for case in self.cases if case.outcome in FAILING]

    def count(self, *outcomes: str) -> int:
        """Return how many tests have one of these outcomes."""
        return sum(case.outcome in outcomes for case in self.cases)

    def by_key(self) -> Dict[Tuple[str, str, str, int], Case]:
        """Return the tests by their key."""
        return {case.key: case for case in self.cases}

    def in_file(self, path: str) -> List[Case]:
        """Return the tests of one file."""
        module = path[:-3].replace("/", ".") if path.endswith(".py") else ""

        def within(case: Case) -> bool:
            if case.file:
                return case.file == path
            if case.whole_file and case.name == path:
                return True
            return bool(module) and _within(case.suite or case.name, module)

        return [case for case in self.cases if within(case)]

    def to_json(self) -> Dict[str, Any]:
        """Return the results as plain data."""
        return {
            "cases": [case.to_json() for case in self.cases],
            "complete": self.complete,
            "named": self.named,
            "notes": list(self.notes),
            "source": self.source,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Results":
        """Read what `to_json` returned."""
        cases = tuple(Case(**{**item, "lines": tuple(item.get("lines", ()))}) for item in data["cases"])
        return cls(cases, data["complete"], data["named"], tuple(data["notes"]), data["source"])


def _within(dotted: str, module: str) -> bool:
    return dotted == module or dotted.startswith(module + ".") or module.endswith("." + dotted)


@dataclass
class Report:
    """What a parser fills: the tests of one file or log."""

    cases: List[Case] = field(default_factory=list)
    complete: bool = True
    named: bool = True
    notes: List[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        outcome: str,
        *,
        suite: str = "",
        file: str = "",
        seconds: Optional[float] = None,
        message: str = "",
        text: str = "",
        whole_file: bool = False,
    ) -> None:
        """Add a test. `text` is the report of its failure: assertion, stack, output."""
        if len(self.cases) >= MOST_CASES:
            if self.complete:
                self.notes.append("Only the first %d tests were read." % MOST_CASES)
            self.complete = False
            return
        lines = tuple(plain(line)[:_TEXT] for line in text.splitlines())
        while lines and not lines[-1].strip():
            lines = lines[:-1]
        kept = lines if len(lines) <= _LINES else (*lines[: _LINES // 3], "…", *lines[-_LINES * 2 // 3 :])
        self.cases.append(
            Case(
                name=one(name) or "(unnamed)",
                outcome=outcome,
                suite=one(suite),
                file=one(file),
                seconds=seconds,
                message=one(message),
                lines=kept if outcome in FAILING else (),
                whole_file=whole_file,
            )
        )


def plain(text: str) -> str:
    """Return a line without escape sequences and control characters."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text)).rstrip()


def one(text: str) -> str:
    """Return a short text on one line."""
    return " ".join(plain(text.replace("\n", " ")).split())[:_TEXT]


def numbered(cases: Iterable[Case]) -> Tuple[Case, ...]:
    """Return the tests with a number for each that has the name of another, the failing ones first."""
    groups: Dict[Tuple[str, str, str, int], List[Case]] = {}
    for case in cases:
        groups.setdefault(case.key, []).append(case)
    found: List[Case] = []
    for group in groups.values():
        group.sort(key=lambda case: _ORDER[case.outcome])
        found += [replace(case, occurrence=number) for number, case in enumerate(group, 1)]
    return tuple(found)
