"""The codec: what is a frame of ours, and what is not."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminals import frames
from terminals.frames import Close, FrameError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = ["resize", "ack", "ping", "pong", "take", "attach", "info", "attention"]


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(FrameError):
        frames.parse_control(text)


@given(
    st.dictionaries(
        st.sampled_from(["t", "cols", "rows", "n", "id", "text", "x"]), JSON | st.sampled_from(KINDS)
    )
)
def test_any_object_is_parsed_or_refused(message: dict[str, object]) -> None:
    with contextlib.suppress(FrameError):
        frames.parse_control(json.dumps(message))


@given(st.integers(1, frames.MAX_COLUMNS), st.integers(1, frames.MAX_ROWS))
def test_every_possible_size_is_accepted(columns: int, rows: int) -> None:
    text = json.dumps({"t": "resize", "cols": columns, "rows": rows})
    assert frames.parse_control(text) == frames.Resize(columns, rows)


@given(st.binary(max_size=100))
def test_any_query_is_parsed_or_refused(query: bytes) -> None:
    with contextlib.suppress(FrameError):
        frames.parse_opening(query)


@pytest.mark.parametrize(
    ("columns", "rows"), [(0, 0), (10000, 10000), (0, 24), (80, 0), (1001, 24), (80, 501)]
)
def test_an_impossible_size_is_refused(columns: int, rows: int) -> None:
    with pytest.raises(FrameError, match="cannot have") as caught:
        frames.parse_control(json.dumps({"t": "resize", "cols": columns, "rows": rows}))
    assert caught.value.close is Close.BAD_SIZE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"t":"nothing"}',
        '{"t":["resize"]}',
        '{"t":"resize","cols":80}',
        '{"t":"resize","cols":true,"rows":24}',
        '{"t":"resize","cols":80.5,"rows":24}',
        '{"t":"resize","cols":"80","rows":24}',
        '{"t":"ack","n":-1}',
        '{"t":"ack","n":1e9}',
        '{"t":"ack","n":9007199254740993}',
        '{"t":"take","force":true}',
        '{"t":"attention","text":1}',
        "[" * 4000,
    ],
)
def test_a_malformed_frame_is_refused(text: str) -> None:
    with pytest.raises(FrameError) as caught:
        frames.parse_control(text)
    assert caught.value.close is Close.MALFORMED


def test_an_oversize_control_frame_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(FrameError) as caught:
        frames.parse_control(" " * (frames.MAX_CONTROL + 1))
    assert caught.value.close is Close.OVERSIZE


def test_the_opening_has_defaults() -> None:
    assert frames.parse_opening(b"") == frames.Opening(frames.Resize(80, 24))
    opening = frames.parse_opening(b"cols=100&rows=30&mode=watch&tab=a")
    assert opening == frames.Opening(frames.Resize(100, 30), "watch", "a")


@pytest.mark.parametrize("query", [b"mode=own", b"cols=x", b"cols=0&rows=0", b"tab=" + b"a" * 65, b"\xff=1"])
def test_a_wrong_opening_is_refused(query: bytes) -> None:
    with pytest.raises(FrameError):
        frames.parse_opening(query)
