"""Answers of a worker that are made to cost memory or to break their reader."""

from __future__ import annotations

import pytest

from jobs.errors import ProtocolMismatch
from jobs.remote.answers import parse
from jobs.remote.offload_runner.engine.frames import Reader
from jobs.remote.offload_runner.git.unsaved import checked
from jobs.transport.base import LONGEST_LINE


@pytest.mark.parametrize(
    "line",
    [b"[" * 200_000, b'{"a":' * 100_000, b'"' + b"x" * LONGEST_LINE + b'"', b"\xff\xfe", b"[]", b"null", b""],
    ids=["deep list", "deep object", "long", "no text", "list", "null", "empty"],
)
def test_a_line_that_is_no_answer_is_an_error_with_words(line: bytes) -> None:
    with pytest.raises(ProtocolMismatch, match="not the runner's"):
        parse(line)


def test_a_frame_of_another_program_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        list(Reader().feed(b"HTTP/1.1 200 OK\r\n"))


@pytest.mark.parametrize(
    "data", [None, [], {"commits": 1, "status": []}, {"commits": [["x"]], "status": {"a": 1}}]
)
def test_a_survey_of_nonsense_is_nonsense_and_no_error(data: object) -> None:
    found = checked(data)
    assert isinstance(found["commits"], list)
    assert isinstance(found["status"], dict)
