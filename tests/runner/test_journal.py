"""The journal: numbers without gaps, torn lines repaired, a full disk told honestly."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.remote.offload_runner.engine.journal import Journal, parse

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


@given(st.lists(TEXT, max_size=8), st.data())
def test_appends_after_any_cut_give_numbers_without_gaps(texts: list[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        journal = Journal(path)
        for text in texts:
            journal.append("note", text=text)
        whole = path.read_bytes() if texts else b""
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        known = [event["text"] for event in journal.read()]
        assert known == texts[: len(known)]
        journal.append("note", text="after")
        events = journal.read()
        assert [event["seq"] for event in events] == list(range(1, len(known) + 2))
        assert [event["text"] for event in events] == [*known, "after"]
        assert all(json.loads(line) for line in path.read_bytes().splitlines())


@given(st.lists(TEXT, min_size=1, max_size=6), st.integers(1, 50))
def test_reading_in_pieces_gives_each_event_once(texts: list[str], step: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        for text in texts:
            Journal(path).append("note", text=text)
        data, offset, seen = path.read_bytes(), 0, []
        for end in [*range(step, len(data), step), len(data)]:
            events, taken = parse(data[offset:end])
            seen += [event["text"] for event in events]
            offset += taken
        assert seen == texts


def test_a_line_longer_than_a_block_is_found_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    journal.append("note", text="x" * 200_000)
    assert journal.append("note", text="y")["seq"] == 2
    with journal.path.open("ab") as file:
        file.write(b'{"seq": 3, "te' + b"z" * 100_000)
    assert journal.append("note", text="y")["seq"] == 3
    assert [event["seq"] for event in journal.read()] == [1, 2, 3]


def _append(path: str, count: int) -> None:
    for _ in range(count):
        Journal(Path(path)).append("note", text="x")


def test_several_writers_never_share_a_number(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(str(path), 50)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [event["seq"] for event in Journal(path).read()] == list(range(1, 151))


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    journal.append("note", text="before")
    real, calls = os.write, []

    def write(descriptor: int, data: bytes) -> int:
        calls.append(descriptor)
        if len(calls) % 2:
            return real(descriptor, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        journal.append("note", text="after")
    assert path.read_bytes() == before

    roomy = Journal(path, make_room=lambda: monkeypatch.setattr(os, "write", real))
    assert roomy.append("note", text="after")["seq"] == 2


def test_a_line_that_no_reader_can_take_is_left_out() -> None:
    deep = b'{"seq": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    events, size = parse(deep + b'["seq"]\n\xff\n{"seq": "2"}\n{"seq": 3}\n')
    assert ([event["seq"] for event in events], size > len(deep)) == ([3], True)
