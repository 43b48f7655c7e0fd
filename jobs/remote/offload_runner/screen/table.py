"""What a run looks like, as lines of text: pure, from what is known and a size."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from jobs.remote.offload_runner.protocol import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    TASK_FINAL,
)
from jobs.remote.offload_runner.screen.text import REASONS, SIGNS, VERDICTS, WORDS, duration, outcome_sentence

_COLOURS = {
    PENDING: "2",
    RUNNING: "36",
    SUCCEEDED: "32",
    FAILED: "31",
    SKIPPED: "33",
    CANCELLED: "33",
    INTERRUPTED: "33",
}
_VERDICT_COLOURS = {"pass": "1;32", "needs_work": "1;33", "fail": "1;31"}
_SEVERITIES = {"error": ("✗", "31"), "warning": ("!", "33"), "note": ("·", "2")}
_WORD_CELLS = max(len(word) for word in WORDS.values())
_DURATION_CELLS = 7
_NAME_CELLS = (10, 32)
_TAIL_LINES = 12


@dataclass(frozen=True)
class Row:
    """One task as shown: `said` is the last line of its output, or why it did not run."""

    name: str
    state: str
    seconds: Optional[float]
    said: str


@dataclass(frozen=True)
class Style:
    """How to mark text. Without colour only bold is left, and signs and words say everything."""

    colour: bool = True

    def paint(self, text: str, codes: str) -> str:
        """Return `text` in a colour, if there are colours."""
        return "\x1b[%sm%s\x1b[0m" % (codes, text) if self.colour and codes else text

    def bold(self, text: str) -> str:
        """Return `text` in bold."""
        return "\x1b[1m%s\x1b[0m" % text


def cells(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return sum(_cell(char) for char in text)


def _cell(char: str) -> int:
    if unicodedata.combining(char) or char in "\u200b\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, width: int) -> str:
    """Return `text` in exactly `width` columns: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    if cells(text) <= width:
        return text + " " * (width - cells(text))
    kept, used = "", 0
    for char in text:
        if used + _cell(char) > width - 1:
            break
        kept += char
        used += _cell(char)
    return kept + "…" + " " * (width - 1 - used)


def heading(
    job: Mapping[str, Any], session: str, sha: str, elapsed: Optional[float], width: int, style: Style
) -> str:
    """Return the first line: what is being done, to which commit, for how long (None: not shown)."""
    title = " ".join(str(job[name]) for name in ("target", "action") if job.get(name)) or session
    parts = [
        str(job.get("repository") or ""),
        sha[:10],
        "" if elapsed is None else duration(elapsed) if elapsed < 60 else _clock(elapsed),
    ]
    rest = "  ".join(part for part in parts if part)
    room = width - 3 - cells(rest)
    if room < 12:
        return style.bold(fit(" " + title, width))
    return style.bold(fit(" " + title, room + 1)) + "  " + style.paint(rest, "2")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return "%d:%02d:%02d" % (hours, minutes, whole % 60) if hours else "%d:%02d" % (minutes, whole % 60)


def table(rows: Sequence[Row], width: int, selected: int, style: Style) -> List[str]:
    """Return one line a task."""
    digits = len(str(len(rows)))
    name_cells = max([_NAME_CELLS[0], *(cells(row.name) for row in rows)]) if rows else 0
    # marker, number, sign, word, name, duration, and what it said, if there is room for that
    fixed = 1 + digits + 1 + 1 + 1 + _WORD_CELLS + 2 + 2 + _DURATION_CELLS
    # On a narrow screen names and output share what is left.
    room = max(4, width - fixed - 1)
    name_cells = min(name_cells, _NAME_CELLS[1], max(room // 2, _NAME_CELLS[0]), room)
    said_cells = width - fixed - name_cells - 3
    lines = []
    for index, row in enumerate(rows):
        here = index == selected
        state = style.paint(
            "%s %s" % (SIGNS[row.state], fit(WORDS[row.state], _WORD_CELLS)), _COLOURS[row.state]
        )
        name = fit(row.name, name_cells)
        spent = "" if row.seconds is None else duration(row.seconds)
        line = "%s%s %s  %s  %s" % (
            style.paint("▌", "36") if here else " ",
            str(index + 1).rjust(digits),
            state,
            style.bold(name) if here else name,
            spent.rjust(_DURATION_CELLS),
        )
        if said_cells >= 8 and row.said:
            line += "  " + style.paint(fit(row.said, said_cells).rstrip(), "2")
        lines.append(line)
    return lines


def frame(
    head: str, rows: Sequence[Row], footer: str, width: int, height: int, selected: int, style: Style
) -> List[str]:
    """Return the whole live screen: at most `height` lines, the selected task always among them."""
    lines = table(rows, width, selected, style)
    room = max(1, height - 4)
    if len(lines) > room:
        first = min(max(0, selected - room // 2), len(lines) - room)
        lines = lines[first : first + room]
    if height < 5:
        return lines[:height]
    blank = [""] * (height - 3 - len(lines))
    return [head, "", *lines, *blank, footer]


def footer(rows: Sequence[Row], note: str, width: int, style: Style) -> str:
    """Return the last line: how far it is, and the keys."""
    done = sum(1 for row in rows if row.state in TASK_FINAL)
    keys = "↑↓ select   l log   q shell"
    text = note or "%d of %d done   %s" % (done, len(rows), keys)
    return style.paint(fit(" " + text, width).rstrip(), "33" if note else "2")


def summary(
    rows: Sequence[Row],
    tails: Mapping[str, str],
    finished: Optional[Mapping[str, Any]],
    width: int,
    style: Style,
) -> List[str]:
    """Return what is left on the screen when a run has ended."""
    lines = [*table(rows, width, -1, style), ""]
    for name, tail in tails.items():
        lines.append(style.paint(fit("── %s, last lines " % name, width).rstrip(), "31"))
        lines += ["   " + fit(line, width - 3).rstrip() for line in tail.splitlines()[-_TAIL_LINES:]]
        lines.append("")
    finished = finished or {}
    verdict = str(finished.get("verdict") or "")
    if verdict in VERDICTS:
        lines.append(style.paint(" %s " % VERDICTS[verdict], _VERDICT_COLOURS[verdict]).rstrip())
    for finding in finished.get("findings") or ():
        lines += _finding(finding, width, style)
    if not verdict and rows:
        lines += wrapped(" " + outcome_sentence(finished or None), width)
    return lines


def _finding(finding: Dict[str, Any], width: int, style: Style) -> List[str]:
    sign, colour = _SEVERITIES.get(str(finding.get("severity")), ("·", "2"))
    where = str(finding.get("file") or "")
    if where and finding.get("line"):
        where += ":%s" % finding["line"]
    text = "%s%s" % ("opinion: " if finding.get("opinion") else "", finding.get("message", ""))
    text = "%s  %s" % (text, where) if where else text
    first, *rest = wrapped(text, width - 3) or [""]
    return [" %s %s" % (style.paint(sign, colour), first), *("   " + line for line in rest)]


def wrapped(text: str, width: int) -> List[str]:
    """Return a text in lines of at most `width` columns, broken at blanks."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and cells(line) + 1 + cells(word) > width:
            lines.append(line)
            line = word
        else:
            line = line + " " + word if line else (word or " ")
    return [*lines, line] if line else lines


def said_of(state: str, reason: str, tail: str, code: Optional[int]) -> str:
    """Return what a task that does not run has to say."""
    if state == FAILED:
        last = tail.splitlines()[-1].strip() if tail else ""
        why = REASONS.get(reason, "exit %s" % code if code is not None else reason)
        return "%s: %s" % (why, last) if last else why
    return REASONS.get(reason, reason) if state in (SKIPPED, CANCELLED) and reason != CANCELLED else ""
