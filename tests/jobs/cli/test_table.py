"""Tables fit the terminal, whatever is in them."""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO
from unicodedata import east_asian_width

import pytest

from jobs.cli.table import table_lines


@contextmanager
def screen(columns: int) -> Iterator[TextIO]:
    """Give a terminal of a width."""
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        with open(slave, "w") as terminal:
            yield terminal
    finally:
        os.close(master)


def width(line: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in re.sub(r"\x1b\[\d+m", "", line))


def test_every_row_is_one_line_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        ("#1 review", "\x1b[32m● pass\x1b[0m", "acme/shop", "big", "3 h ago", "日本語の題名" * 20),
        ("#22 review", "▶ running", "acme/shop", "local", "12 min ago", "é" * 200),
        ("#3 open", "…", "acme/a-long-name", "local", "1 d ago", ""),
    ]
    assert [line.split("  ")[0] for line in table_lines(rows)] == ["#1 review", "#22 review", "#3 open"]
    monkeypatch.setenv("COLUMNS", "132")  # of a shell that does not follow its window
    for columns, shown in ((200, ["acme/shop", "big", "3 h ago"]), (80, ["acme/shop"]), (40, []), (24, [])):
        with screen(columns) as terminal, monkeypatch.context() as patch:
            patch.setattr("sys.stdout", terminal)
            lines = table_lines(rows, (3, 4, 2))
        assert max(map(width, lines)) <= columns
        assert [cell for cell in ("acme/shop", "big", "3 h ago") if cell in lines[0]] == shown
        assert "\x1b[32m● pass\x1b[0m" in lines[0]
