"""The result of one test, and of one test run."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

PASSED = "passed"
FAILED = "failed"
ERROR = "error"  # the test could not run: its fixture failed, or its file could not be loaded
SKIPPED = "skipped"
XFAIL = "xfail"  # the test fails, as its author expects
OUTCOMES = (PASSED, FAILED, ERROR, SKIPPED, XFAIL)
FAILING = (FAILED, ERROR)

MOST_CASES = 50_000
MOST_UNLOADED = 1000  # files that could not be loaded
_MOST_CHARACTERS = 32 * 1024 * 1024  # of all that is kept of a report; of failures' own lines a quarter
_MOST_NOTES = 50
_MOST_SECONDS = 1e9
_TEXT = 400
_LINES = 30
_MOST_TEXT = 32 * 1024  # characters at either end of a failure's report
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_LINE = re.compile(r" \(line (\d+)\)")  # in the name of a doc test of Rust
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# With what turns the direction of a text, and the ends of lines that Unicode has besides.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_HALVES = re.compile("[\ud800-\udfff]")  # of a character: no text can be written with them
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
        return (self.file, self.suite, _LINE.sub("", _ADDRESS.sub("0x", self.name)), self.occurrence)

    @property
    def suites(self) -> List[str]:
        """Return the suite of the test and those that it is in."""
        parts = self.suite.split(" > ") if self.suite else []
        return [" > ".join(parts[:end]) for end in range(1, len(parts) + 1)]

    @property
    def unit(self) -> str:
        """Return what did not run when `whole_file` is true: a file, a package, the suite of a hook."""
        return self.file or " > ".join(part for part in (self.suite, self.name) if part)

    @property
    def title(self) -> str:
        """Return the test's name for people, e.g. `tests/test_tax.py::TestRate::test_zero`."""
        if self.whole_file and (self.file or self.name == self.suite or self.suite in self.name):
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

    @cached_property
    def _by_key(self) -> Dict[Tuple[str, str, str, int], Case]:
        return {case.key: case for case in self.cases}

    @cached_property
    def _of_file(self) -> Dict[str, List[Case]]:
        found: Dict[str, List[Case]] = {}
        for case in self.cases:
            found.setdefault(case.file, []).append(case)
        return found

    def by_key(self) -> Dict[Tuple[str, str, str, int], Case]:
        """Return the tests by their key."""
        return self._by_key

    def in_file(self, path: str) -> List[Case]:
        """Return the tests of one file."""
        module = path[:-3].replace("/", ".") if path.endswith(".py") else ""

        def within(case: Case) -> bool:
            if case.whole_file and case.name == path:
                return True
            return bool(module) and _within(case.suite or case.name, module)

        named = self._of_file.get(path, []) if path else []
        return named + [case for case in self._of_file.get("", []) if within(case)]

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
    characters: int = 0
    unloaded: int = 0

    @property
    def is_full(self) -> bool:
        """Tell whether no more tests are taken."""
        return len(self.cases) >= MOST_CASES or self.characters > _MOST_CHARACTERS

    def note(self, text: str) -> None:
        """Add a note, on one line; after the first ones, none."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(one(text))

    def cut(self, text: str) -> None:
        """Say that the results are incomplete, and why."""
        self.complete = False
        self.note(text)

    def part(self) -> "Report":
        """Return an empty report for one more file, which counts against the limits of this one."""
        return Report(characters=self.characters, unloaded=self.unloaded)

    def take(self, other: "Report") -> None:
        """Add the tests of a `part` as far as there is room."""
        room = MOST_CASES - len(self.cases)
        self.cases += other.cases[:room]
        self.characters, self.unloaded = other.characters, other.unloaded
        self.complete = self.complete and other.complete
        self.named = self.named and other.named
        for note in other.notes:
            self.note(note)
        if len(other.cases) > room:
            self.cut("Only the first %d tests were read." % MOST_CASES)

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
        if self.is_full or (whole_file and self.unloaded >= MOST_UNLOADED):
            if self.complete:
                self.note("Only the first %d tests were read." % len(self.cases))
            self.complete = False
            return
        keeps_lines = outcome in FAILING and self.characters < _MOST_CHARACTERS // 4
        case = Case(
            name=one(name) or "(unnamed)",
            outcome=outcome,
            suite=one(suite),
            file=one(file),
            seconds=seconds if seconds is not None and 0 <= seconds < _MOST_SECONDS else None,
            message=one(message),
            lines=_ends(text) if keeps_lines else (),
            whole_file=whole_file,
        )
        self.cases.append(case)
        self.unloaded += whole_file
        self.characters += 100 + sum(map(len, (case.name, case.suite, case.file, case.message, *case.lines)))


def _ends(text: str) -> Tuple[str, ...]:
    """Return the first and last lines of a failure's report."""
    if len(text) > 2 * _MOST_TEXT:
        text = "\n".join((text[:_MOST_TEXT], text[-_MOST_TEXT:]))
    said = text.splitlines()
    while said and not said[-1].strip():
        said.pop()
    if len(said) > _LINES:
        said = [*said[: _LINES // 3], "…", *said[-_LINES * 2 // 3 :]]
    return tuple(plain(line[: _TEXT * 2])[:_TEXT] for line in said)


def plain(text: str) -> str:
    """Return a line without escape sequences and control characters, in characters that can be written."""
    return _HALVES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", text))).rstrip()


def one(text: str) -> str:
    """Return a short text on one line."""
    beginning = text[: _TEXT * 10]  # of what may be megabytes
    return " ".join(plain(beginning.replace("\n", " ")).split())[:_TEXT]


def numbered(cases: Iterable[Case]) -> Tuple[Case, ...]:
    """Return the tests with a number for each that has the name of another, the failing ones first."""
    groups: Dict[Tuple[str, str, str, int], List[Case]] = {}
    for case in cases:
        groups.setdefault(case.key, []).append(case)
    found: List[Case] = []
    for group in groups.values():
        lines = [_LINE.search(case.name) for case in group]
        if not all(lines):  # those with a line keep their order
            group.sort(key=lambda case: _ORDER[case.outcome])
        found += [replace(case, occurrence=number) for number, case in enumerate(group, 1)]
    return tuple(found)
