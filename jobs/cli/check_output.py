"""Checks as data, and as lines: aligned, wrapped to the terminal, with commands that can be copied."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from jobs.cli.output import colour, plain, terminal_size
from jobs.invocation import render_commands
from jobs.providers.base import Problem, Severity

COLOURS = {Severity.PASS: "green", Severity.WARN: "yellow", Severity.FAIL: "red"}
EXIT_NOT_CONFIGURED = 4
INDENT = 6
WIDEST = 100


def _width() -> int | None:
    """Return how wide lines may be; None when they go to a file or a program, where lines stay whole."""
    if not sys.stdout.isatty():
        return None
    return max(40, min(terminal_size().columns, WIDEST))


def print_checks(problems: Sequence[Problem]) -> None:
    """Print the checks. A command can be copied as it is: it continues after a backslash."""
    subjects = max((len(one.subject) for one in problems), default=0)
    width = _width()
    hang = INDENT + subjects + 2
    for one in problems:
        word = colour(f"{one.severity.value.upper():<4}", COLOURS[one.severity])
        lines = _wrapped(plain(render_commands(one.detail)), width, hang)
        if one.severity is not Severity.PASS and one.remedy:
            lines += _wrapped(plain(render_commands(one.remedy)), width, hang)
        print(f"{word}  {one.subject:<{subjects}}  {lines[0].lstrip()}")
        for line in lines[1:]:
            print(line)
        if one.severity is not Severity.PASS and one.command:
            for line in _continued(plain(one.command), width):
                print(colour(line, "bold"))


def _wrapped(text: str, width: int | None, hang: int) -> list[str]:
    """Return the lines of a text, indented. A line without room there (an address) starts further left."""
    if width is None:
        return [" " * hang + text]
    room = max(20, width - hang)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return [" " * (hang if len(line) <= room else INDENT) + line for line in lines]


def _continued(command: str, width: int | None) -> list[str]:
    """Return a command on one line, or on several lines that a shell reads as one, split before options."""
    first = " " * INDENT
    if width is None or len(first + command) <= width:
        return [first + command]
    lines = [first]
    for part in command.replace(" --", "\n--").split("\n"):
        if lines[-1].strip() and len(f"{lines[-1]} {part} \\") > width:
            lines[-1] += " \\"
            lines.append(" " * (INDENT + 2) + part)
        else:
            lines[-1] += part if not lines[-1].strip() else f" {part}"
    return lines


def summary(problems: Sequence[Problem], repair: str) -> str:
    """Return how many checks failed. `repair`: the command that repairs, named when it can."""
    failed = sum(one.severity is Severity.FAIL for one in problems)
    warned = sum(one.severity is Severity.WARN for one in problems)
    repairable = sum(bool(one.repair) for one in problems)
    if not failed and not warned:
        return "Everything is in order."
    parts = [f"{failed} failed"] * bool(failed) + [f"{warned} warning{'' if warned == 1 else 's'}"] * bool(
        warned
    )
    text = f"{' and '.join(parts)}."
    if repairable and repair:
        text += f" {repairable} of them can be repaired by:\n{' ' * INDENT}{repair}"
    return text


def exit_code(problems: Sequence[Problem]) -> int:
    """Return 0, or 4 when a check failed."""
    return EXIT_NOT_CONFIGURED if any(one.severity is Severity.FAIL for one in problems) else 0


def rows(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return the checks as data."""
    return [
        {
            "severity": one.severity.value,
            "subject": one.subject,
            "detail": one.detail,
            "remedy": one.remedy or None,
            "command": one.command or None,
            "repairable": bool(one.repair),
        }
        for one in problems
    ]
