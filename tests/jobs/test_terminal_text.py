"""What a job wrote does nothing to the terminal on which it is printed."""

from __future__ import annotations

import io
import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli.output import _end_terminal_text, write_bytes
from jobs.terminal_text import TerminalText, make_safe


@pytest.mark.parametrize(
    ("data", "safe"),
    [
        (b"plain \xc3\xbc\ttext\n", "plain ü\ttext\n"),
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        (b"\x1b[1;38:2:1:2:3mleft on", "\x1b[1;38:2:1:2:3mleft on\x1b[0m"),
        (b"\x1b]0;title\x07a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"),
        (b"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b[2J\x1b[1;1H\x1b[?1049hfake", "fake"),
        (b"\x1bcreset \x1b(0 \x1bP1;2|x\x1b\\ \x1b_apc\x1b\\.", "reset   ."),
        (b"fail\rpass\r\nnext\r\r\n", "fail\npass\nnext\n"),
        (b"a\x08b\x7f\x00\x0e\xc2\x9b31mc", "ab31mc"),
        (b"\x1b]0;no end\nnext \x1b", "]0;no end\nnext "),
        (b"\xff\xfe", "��"),
    ],
)
def test_only_colours_pass(data: bytes, safe: str) -> None:
    assert make_safe(data) == safe


def read(screen: io.RawIOBase, end: bytes) -> bytes:
    """Read until `end`: a terminal hands on what it has, in pieces."""
    found = b""
    while not found.endswith(end):
        found += screen.read(100) or b""
    return found


def test_the_command_line_writes_a_job_s_bytes_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as terminal, open(master, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stdout", terminal)
        write_bytes(b"a\x1b]52;c;")
        write_bytes(b"ZXZpbA==\x07b\x1b[32mc\n")
        assert read(screen, b"\n") == b"ab\x1b[32mc\r\n"
        _end_terminal_text()
        terminal.flush()
        assert read(screen, b"m") == b"\x1b[0m"


@given(
    st.lists(
        st.sampled_from(
            ["\x1b", "[", "]", "0", ";", "m", "H", "\x07", "\\", "P", "\r", "\n", "x", "\x9b", "ü"]
        )
    ),
    st.integers(1, 5),
)
def test_pieces_make_no_difference(parts: list[str], size: int) -> None:
    data = "".join(parts).encode()
    text = TerminalText()
    pieces = "".join(text.feed(data[at : at + size]) for at in range(0, len(data), size)) + text.end()
    assert pieces == make_safe(data)
    assert not re.search(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-9;:]*m)", pieces)
