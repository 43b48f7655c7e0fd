"""Tables fit the terminal, whatever is in them."""

import io
import re
from unicodedata import east_asian_width

import pytest

from jobs.cli.table import table_lines


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def width(line: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in re.sub(r"\x1b\[\d+m", "", line))


def test_every_row_is_one_line_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        ("#1 review", "\x1b[32m● pass\x1b[0m", "acme/shop", "big", "3 h ago", "日本語の題名" * 20),
        ("#22 review", "▶ running", "acme/shop", "local", "12 min ago", "é" * 200),
        ("#3 open", "…", "acme/a-long-name", "local", "1 d ago", ""),
    ]
    assert [line.split("  ")[0] for line in table_lines(rows)] == ["#1 review", "#22 review", "#3 open"]
    monkeypatch.setattr("sys.stdout", Screen())
    for columns, shown in ((200, ["acme/shop", "big", "3 h ago"]), (80, ["acme/shop"]), (40, []), (24, [])):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = table_lines(rows, (3, 4, 2))
        assert max(map(width, lines)) <= columns
        assert [cell for cell in ("acme/shop", "big", "3 h ago") if cell in lines[0]] == shown
        assert "\x1b[32m● pass\x1b[0m" in lines[0]
