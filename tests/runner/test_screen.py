"""The live table as text: every size, every width of letters, with and without colours."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.remote.offload_runner.engine.task_log import plain
from jobs.remote.offload_runner.screen import table
from jobs.remote.offload_runner.screen.table import Row, Style
from jobs.remote.offload_runner.screen.text import SIGNS, WORDS, duration

PLAIN = Style(colour=False)
ROWS = [
    Row("Install dependencies", "succeeded", 12.34, ""),
    Row("Tests", "running", 65.0, "tests/test_a.py ......"),
    Row("日本語のテスト", "failed", 0.1, "exit 1"),
    Row("Proof", "pending", None, ""),
]


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@given(st.integers(1, 220), st.integers(1, 60), st.integers(0, 3), st.booleans())
def test_a_frame_never_leaves_the_screen(width: int, height: int, selected: int, colour: bool) -> None:
    style = Style(colour)
    head = table.heading({"target": "#1", "action": "review"}, "s", "abc", 3.0, width, style)
    lines = table.frame(head, ROWS, table.footer(ROWS, "", width, style), width, height, selected, style)
    assert len(lines) <= height
    if width >= 40:
        assert max(table.cells(bare(line)) for line in lines) <= width


@given(st.text(max_size=40), st.integers(0, 50))
def test_fit_gives_exactly_the_width(text: str, width: int) -> None:
    assert table.cells(table.fit(text, width)) == width


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_plain_text_moves_no_cursor(text: str) -> None:
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", plain(text))


def test_a_state_is_a_sign_and_a_word() -> None:
    lines = table.table(ROWS, 100, 1, PLAIN)
    for line, row in zip(lines, ROWS, strict=True):
        assert f"{SIGNS[row.state]} {WORDS[row.state]}" in line
    assert lines[1].startswith("▌")
    assert len(set(SIGNS.values())) == len(SIGNS)


def test_without_colour_there_is_none() -> None:
    text = "\n".join(table.table(ROWS, 100, 0, PLAIN) + table.summary(ROWS, {}, None, 100, PLAIN))
    assert not re.search(r"\x1b\[[^01m]", text)


def test_more_tasks_than_lines_scroll_with_the_selection() -> None:
    rows = [Row(f"Task {n}", "pending", None, "") for n in range(1, 31)]
    for selected in (0, 15, 29):
        lines = table.frame("head", rows, "foot", 80, 12, selected, PLAIN)
        assert any(bare(line).startswith("▌") and f"Task {selected + 1} " in bare(line) for line in lines)
        assert (lines[0], lines[-1]) == ("head", "foot")


def test_the_summary_shows_verdict_findings_and_last_lines() -> None:
    finished = {
        "state": "succeeded",
        "verdict": "needs_work",
        "findings": [{"severity": "warning", "message": "Lint fails.", "file": "a.py", "line": 3}],
    }
    text = "\n".join(table.summary(ROWS, {"Tests": "one\ntwo"}, finished, 60, PLAIN))
    assert "NEEDS WORK" in text
    assert "! Lint fails.  a.py:3" in text
    assert "   two" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-0.4, "0.0s"), (0.04, "0.0s"), (12.34, "12.3s"), (99.96, "1m 39s"), (245, "4m 05s"), (7400, "2h 03m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
