"""Distil the log of a failed CI job: the step, the failing tests, the lines that matter. Pure.

Formats, as the services write them. GitHub Actions: a byte order mark, a time with seven decimals before each
line, colours, `##[group]Run COMMAND` with the script up to `shell:`, `##[error]` at the end of a failed step.
GitLab: `section_start:TIME:NAME`, `$ COMMAND` before what a command prints, `ERROR: Job failed: exit code N`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_LINES = 60
MOST_TESTS = 50
LONGEST_LINE = 500
LONGEST_COMMAND = 2000
_MOST_READ = 200_000  # lines
_HEADS = ("##[group]", "##[endgroup]", "##[section]")
_AROUND = (2, 6)  # lines before and after a failing test or an error

_TIME = re.compile(r"\ufeff?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(?:\d{7}Z ?|\d{6}Z [0-9a-f]{2}[OE][ +]?)")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.")
_SECTION = re.compile(r"section_(?:start|end):\d+:(?P<name>[\w.-]+)(?:\[[^\]]*\])?\r?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_EXIT = re.compile(
    r"##\[error\]Process completed with exit code (\d+)|ERROR: Job failed: (?:exit code|exit status) (\d+)"
)
_TESTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("pytest", re.compile(r"(?:FAILED|ERROR) (?P<test>[^\s:-][^\s:]*\.py(?:::.+?)?)(?: - .*)?$")),
    ("unittest", re.compile(r"(?:FAIL|ERROR): (?P<test>\w+ \([\w.]+\))")),
    ("vitest", re.compile(r" *(?:FAIL|❌|×) +(?P<test>[^\s-]\S*\.[cm]?[jt]sx?(?: > .+?)?)(?: \d+ms)?$")),
    ("jest", re.compile(r" *● (?P<test>.+? › .+)$")),
    ("node", re.compile(r" *✖ (?P<test>(?!failing tests).+?) \([\d.]+ms\)$")),
    ("tap", re.compile(r" *not ok \d+ - (?P<test>(?!.* # (?:TODO|SKIP)).+)$")),
    ("cargo", re.compile(r"test (?P<test>[\w:]+) \.\.\. FAILED$")),
    ("go", re.compile(r" *--- FAIL: (?P<test>\S+) \([\d.]+s\)$")),
    ("maven", re.compile(r"\[ERROR\] +(?P<test>[\w.$]+\.\w+:\d+)(?: .*)?$")),
    ("gradle", re.compile(r"(?P<test>[\w.$]+ > .+) FAILED$")),
)
_ERRORS = (  # of compilers, linters, test frameworks and the service itself
    re.compile(r"[\w./@-]+\.\w+[:(]\d+[:,]?\d*\)?:? (?:- )?(?:error|Error|[EFW]\d+)"),
    re.compile(r" *--> [\w./-]+:\d+:\d+$"),
    re.compile(r"E   \S|error(?:\[\w+\])?: |[\w.]+(?:Error|Exception): "),
    re.compile(r"##\[error\]|ERROR: "),
)


@dataclass(frozen=True)
class Step:
    """A step of a CI job: its times as the service says them (RFC 3339), whether it failed."""

    name: str
    failed: bool
    started_at: str = ""
    ended_at: str = ""


@dataclass(frozen=True)
class CiLog:
    """The log of a CI job. `cut`: its beginning is missing. `steps`: empty when the service has none."""

    text: str
    cut: bool = False
    steps: Sequence[Step] = ()


@dataclass(frozen=True)
class CiFailure:
    """What a failed CI job says. Every text was written by other people and is shown as text only.

    `command`: what the failed step ran. `again`: a command for only the failing tests, "" when unknown.
    `tests`: their names. `note`: why there is less than there should be.
    """

    step: str = ""
    exit_code: int | None = None
    command: str = ""
    again: str = ""
    tests: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    note: str = ""


def distil(log: CiLog, *, said: str = "") -> CiFailure:
    """Return what matters of a failed job's log. `said`: how the job ended, in the service's word."""
    if not log.text.strip("\ufeff \r\n\t"):
        why = "The job was cancelled and wrote no log." if said == "cancelled" else "The log is empty."
        return CiFailure(note=why)
    step, lines = _failed_step(list(_lines(log.text)), log.steps)
    exits = [int(match[1] or match[2]) for line in lines if (match := _EXIT.match(line))]
    found = _failing(lines)
    kind = found[0][1] if found else ""
    tests = tuple(dict.fromkeys(name for _, of, name in found if of == kind))[:MOST_TESTS]
    return CiFailure(
        step=step[:200],
        exit_code=exits[0] if exits else None,
        command=_command(lines)[:LONGEST_COMMAND],
        again=_again(kind, tests),
        tests=tuple(name[:LONGEST_LINE] for name in tests),
        lines=_that_matter(lines, [at for at, _, _ in found]),
        note="The beginning of the log was not read." if log.cut else "",
    )


def _lines(text: str) -> Iterable[tuple[str, str]]:
    """Yield time and text of each line, without colours and control characters."""
    for raw in text.split("\n")[-_MOST_READ:]:
        time = _TIME.match(raw)
        line = raw[time.end() if time else 0 :][: 4 * LONGEST_LINE]
        # A line that is drawn again and again (a progress bar) ends as the last of them.
        line = _SECTION.sub(_section_line, _ANSI.sub("", line)).rstrip("\r").rpartition("\r")[2]
        yield time[1] if time else "", _CONTROL.sub("", line)[:LONGEST_LINE]


def _section_line(match: re.Match[str]) -> str:
    return f"##[section]{match['name']} " if match[0].startswith("section_start") else ""


def _failed_step(lines: list[tuple[str, str]], steps: Sequence[Step]) -> tuple[str, list[str]]:
    """Return the name of the failed step and its lines: its last group or section before the error."""
    failed = next((step for step in steps if step.failed), None)
    inside = [text for _, text in lines]
    if failed is not None and failed.started_at and failed.ended_at:
        # The times have whole seconds, so that a neighbour's lines can be among these.
        first, last = failed.started_at[:19], failed.ended_at[:19]
        inside = [text for time, text in lines if not time or first <= time <= last] or inside
    end = next((at for at, text in enumerate(inside) if _EXIT.match(text)), len(inside) - 1)
    heads = ("##[group]Run ", "##[section]step_script")
    start = max((at for at in range(end) if inside[at].startswith(heads)), default=0)
    name = inside[start].removeprefix("##[group]") if inside[start].startswith("##[group]") else ""
    return failed.name if failed else name, inside[start : end + 1]


def _command(lines: list[str]) -> str:
    """Return the script of a step of Actions, or the last command that a GitLab job began."""
    if lines and lines[0].startswith("##[group]Run "):
        end = next((at for at, line in enumerate(lines) if line.startswith(("shell: ", "##[endgroup]"))), 1)
        return "\n".join(lines[1:end]).strip() or lines[0].removeprefix("##[group]Run ")
    started = [line[2:] for line in lines if line.startswith("$ ")]
    return started[-1] if started else ""


def _failing(lines: list[str]) -> list[tuple[int, str, str]]:
    """Return line, framework and name of each failing test."""
    found = []
    for at, line in enumerate(lines):
        for kind, pattern in _TESTS:
            if match := pattern.match(line):
                found.append((at, kind, match["test"].strip()))
                break
    return found


def _again(kind: str, tests: Sequence[str]) -> str:
    """Return a command for these tests alone; the names are quoted, for other people chose them."""
    few = tests[:10]
    if not few:
        return ""
    if kind == "pytest":
        return shlex.join(["python", "-m", "pytest", *few])
    if kind == "go":
        names = "|".join(dict.fromkeys(re.escape(test.partition("/")[0]) for test in few))
        return shlex.join(["go", "test", "-run", f"^({names})$", "./..."])
    if kind == "cargo":
        return shlex.join(["cargo", "test", "--", "--exact", *few])
    if kind == "vitest":
        files = dict.fromkeys(test.partition(" > ")[0] for test in few)
        return shlex.join(["npx", "vitest", "run", *files])
    return ""


def _that_matter(lines: list[str], tests: Sequence[int]) -> tuple[str, ...]:
    """Return the lines around failing tests and errors; the last ones where there are none."""
    places = [*tests, *(at for at, line in enumerate(lines) if any(e.match(line) for e in _ERRORS))]
    before, after = _AROUND
    kept = sorted({at for place in places for at in range(max(0, place - before), place + after)})
    chosen = [lines[at] for at in kept if at < len(lines)] if kept else lines
    shown = [line for line in chosen if line.strip() and not line.startswith(_HEADS)]
    # Summaries are at the end, the first failure at the beginning.
    half = MOST_LINES // 2
    return tuple(shown if len(shown) <= MOST_LINES else [*shown[:half], "[…]", *shown[-half + 1 :]])
