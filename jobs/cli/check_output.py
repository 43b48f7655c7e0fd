"""Checks as data, and as lines: aligned, wrapped to the terminal, commands to be copied as they are."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from jobs.cli.output import colour, plain
from jobs.providers.base import Problem, Severity

COLOURS = {Severity.PASS: "green", Severity.WARN: "yellow", Severity.FAIL: "red"}
EXIT_NOT_CONFIGURED = 4
INDENT = 6
WIDEST = 100


def _width() -> int | None:
    """Return how wide lines may be; None when they go to a file or a program, which wants them whole."""
    if not sys.stdout.isatty():
        return None
    return max(40, min(shutil.get_terminal_size().columns, WIDEST))


def print_checks(problems: Sequence[Problem]) -> None:
    """Print the lines on stdout. A command can be copied as it is: it goes on after a backslash."""
    subjects = max((len(one.subject) for one in problems), default=0)
    width = _width()
    hang = INDENT + subjects + 2
    for one in problems:
        word = colour(f"{one.severity.value.upper():<4}", COLOURS[one.severity])
        lines = _wrapped(plain(one.detail), width, hang)
        if one.severity is not Severity.PASS and one.remedy:
            lines += _wrapped(plain(one.remedy), width, hang)
        print(f"{word}  {one.subject:<{subjects}}  {lines[0].lstrip()}")
        for line in lines[1:]:
            print(line)
        if one.severity is not Severity.PASS and one.command:
            for line in _continued(plain(one.command), width):
                print(colour(line, "bold"))


def _wrapped(text: str, width: int | None, hang: int) -> list[str]:
    """Return the lines of a text, indented; one that has no room there (an address) starts further left."""
    if width is None:
        return [" " * hang + text]
    room = max(20, width - hang)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return [" " * (hang if len(line) <= room else INDENT) + line for line in lines]


def _continued(command: str, width: int | None) -> list[str]:
    """Return a command on one line, or on several that the shell takes as one, broken before options."""
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


def summary(problems: Sequence[Problem], mender: str) -> str:
    """Return a line about all of them, and a second one with the command that mends, if it does."""
    failed = sum(one.severity is Severity.FAIL for one in problems)
    warned = sum(one.severity is Severity.WARN for one in problems)
    mendable = sum(bool(one.mend) for one in problems)
    if not failed and not warned:
        return "Everything is there."
    parts = [f"{failed} to mend"] * bool(failed) + [f"{warned} to look at"] * bool(warned)
    text = f"{' and '.join(parts)}."
    if mendable and mender:
        text += f" Of these, {mendable} can be mended by:\n{' ' * INDENT}{mender}"
    return text


def exit_code(problems: Sequence[Problem]) -> int:
    """Return the exit code for what was seen."""
    return EXIT_NOT_CONFIGURED if any(one.severity is Severity.FAIL for one in problems) else 0


def rows(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return the lines as data."""
    return [
        {
            "severity": one.severity.value,
            "subject": one.subject,
            "detail": one.detail,
            "remedy": one.remedy or None,
            "command": one.command or None,
            "mendable": bool(one.mend),
        }
        for one in problems
    ]
