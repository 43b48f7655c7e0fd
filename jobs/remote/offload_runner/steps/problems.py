"""What linters and type checkers report, as data, so that a change is blamed for what is new only."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Sequence

from jobs.remote.offload_runner.steps.results.model import plain

_MOST = 5000
_TEXT = 300
_MOST_LINE = 2000  # characters
_MOST_PATH = 400
_MOST_TOOL = 100
# ruff, flake8, mypy, pyright, go vet, gcc, eslint --format unix: "src/a.py:3:5: error: message".
_LINE = re.compile(
    r"^\s*(?!-->)(?:vet: )?(?P<file>[^\s:()|][^:()|]*?\.\w+|[\w./-]*[Mm]akefile):(?P<line>\d{1,9})(?::\d+)?"
    r"(?::| -) *(?P<message>\S.*)$"
)
# tsc: "src/a.ts(3,5): error TS2322: message".
_TSC = re.compile(r"^(?P<file>[^\s(][^(]*?\.\w+)\((?P<line>\d{1,9}),\d+\): (?P<message>\S.*)$")
# eslint's own format: the file on a line, then "  3:5  error  message  rule".
_STYLISH = re.compile(r"^\s+(?P<line>\d{1,9}):\d+\s+(?P<message>(?:error|warning)\s+\S.*)$")
_PATH = re.compile(r"^(?P<file>/?(?:[\w@.+-]+/)*[\w@.+-]+\.\w{1,5})$")
# rustc, clippy, ruff's full format: a message, then " --> src/lib.rs:3:5".
_ARROW = re.compile(r"^\s*(?:-->|::: |╭▸) ?(?P<file>[^\s:]+):(?P<line>\d{1,9})(?::\d+)?$")
# black, prettier, gofmt -l and rustfmt name files.
_WHOLE = re.compile(r"^(?:would reformat|\[warn\]|error: cannot format) (?P<file>[^\s:]+\.\w+)")
_RUSTFMT = re.compile(r"^Diff in (?P<file>[^\s:]+)(?: at line |:)(?P<line>\d{1,9})(?!\d)")
_NO_TOOL = re.compile(
    r"(?:^|: )(?:\d+: )?(?P<tool>[\w@./-]+): (?:command )?not found"
    r"|^make(?:\[\d+\])?: (?P<made>[\w@./-]+): No such file or directory"
    r"|No module named (?P<module>['\"]?[\w.]+)"
    r"|'(?P<quoted>[\w@./-]+)' is not recognized",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Problem:
    """One complaint of a checker. `line` is not part of what identifies it: lines above it may move it."""

    file: str
    line: Optional[int]
    message: str

    def to_json(self) -> Dict[str, Any]:
        """Return the problem as plain data."""
        return asdict(self)


def read_problems(output: str, tree: str) -> List[Problem]:
    """Return the complaints in a checker's output, with paths relative to the tree."""
    found: List[Problem] = []
    file = message = ""
    for line in (plain(one[:_MOST_LINE]) for one in output.splitlines()):
        if len(found) >= _MOST:
            break
        for pattern in (_LINE, _TSC):
            match = pattern.match(line)
            if match and not re.search(r"\b(note|info):", match["message"][:8]):
                found.append(_problem(match["file"], match["line"], match["message"], tree))
                break
        else:
            match = _PATH.match(line)
            if match:
                file = match["file"]
                continue
            match = _STYLISH.match(line)
            if match and file:
                found.append(_problem(file, match["line"], match["message"], tree))
                continue
            match = _ARROW.match(line) or _RUSTFMT.match(line)
            if match:
                told = message if _ARROW.match(line) else "is not formatted"
                found.append(_problem(match["file"], match["line"], told, tree))
                continue
            match = _WHOLE.match(line)
            if match:
                found.append(_problem(match["file"], "", "is not formatted", tree))
            elif line and not line.startswith((" ", "|")):
                message = line
    return found


def _problem(file: str, line: str, message: str, tree: str) -> Problem:
    name = file.strip()
    name = name[len(tree) + 1 :] if name.startswith(tree + "/") else name
    name = name[2:] if name.startswith("./") else name
    return Problem(name[:_MOST_PATH], int(line) if line else None, message[:_TEXT])


def new_problems(head: Sequence[Problem], base: Sequence[Problem], renamed: Dict[str, str]) -> List[Problem]:
    """Return the problems of the head that the base does not have; `renamed` maps new paths to old ones."""
    left = Counter(_identity(problem.file, problem.message) for problem in base)
    found = []
    for problem in head:
        identity = _identity(renamed.get(problem.file, problem.file), problem.message)
        if left[identity] > 0:
            left[identity] -= 1
        else:
            found.append(problem)
    return found


def _identity(file: str, message: str) -> "tuple[str, str]":
    return file, re.sub(r"\bline \d+|\d+:\d+|\s+", " ", message)


def missing_tool(output: str) -> str:
    """Return the program that a command could not find behind make or a package script; "" if none."""
    match = _NO_TOOL.search(output)
    if not match:
        return ""
    found = next(part for part in match.groups() if part)
    return found.strip("'\"").rsplit("/", 1)[-1][:_MOST_TOOL]
