"""Parts of a log that may be very large: by byte offset, by line number, from its end; and search.

A part starts at the start of a line and ends with a line, unless one line is longer than a part. Line
numbers need the lines before to be counted: counts are kept for each MiB, and counting stops after
`SECONDS`, so that a log on a slow worker is shown without line numbers rather than late.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

PART_BYTES = 128 * 1024
PART_LINES = 1_000
STEP = 1024 * 1024
SEARCH_STEP = 8 * 1024 * 1024
SECONDS = 2.0
HITS = 100
SHOWN_AROUND = 100
_KEPT = 64  # logs whose line counts are remembered

Read = Callable[[int, int], Awaitable[bytes]]
"""Returns at most so many bytes from a byte offset: `await read(offset, limit)`."""

_FAILURE = re.compile(
    rb"\bFAILED\b|\bFAIL:|\bFAIL\b|Traceback \(most recent call last\)|\bpanic:|\berror(?:\[\w+\])?:"
    rb"|^E  |^Error\b|\bERROR\b|\xe2\x9c\x97 |\xe2\x9c\x98 |AssertionError|\bfatal:",
    re.MULTILINE,
)
_ESCAPES = re.compile(rb"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?")


@dataclass(frozen=True)
class Wanted:
    """What a search looks for. Text without any of the `needles` (lower case) cannot match the pattern.

    Finding a needle is ten times as fast as the pattern, which matters for 100 MB.
    """

    pattern: re.Pattern[bytes]
    needles: tuple[bytes, ...]

    def matches(self, text: bytes) -> Iterator[re.Match[bytes]]:
        """Yield the matches of the pattern."""
        lower = text.lower()
        found = [at for at in (lower.find(needle) for needle in self.needles) if at >= 0]
        if found:
            yield from self.pattern.finditer(text, text.rfind(b"\n", 0, min(found)) + 1)


FAILURE = Wanted(
    _FAILURE,
    (b"fail", b"error", b"traceback", b"panic:", b"fatal:", b"\ne  ", b"\xe2\x9c\x97", b"\xe2\x9c\x98"),
)


@dataclass(frozen=True)
class Part:
    """A part of a log: bytes `start` to `end`. `line`: the number of its first line, or 0 when unknown."""

    data: bytes
    start: int
    line: int

    @property
    def end(self) -> int:
        """Return the offset after the part."""
        return self.start + len(self.data)

    @property
    def next_line(self) -> int:
        """Return the number of the line at `end`, or 0 when unknown."""
        return self.line + self.data.count(b"\n") if self.line else 0


@dataclass(frozen=True)
class Hit:
    """A line that a search found: its number, and the text around the match."""

    line: int
    text: str


@dataclass(frozen=True)
class Hits:
    """What a search found. `resume`: the offset to continue at, or -1 when the whole log was searched."""

    hits: list[Hit]
    resume: int
    resume_line: int


@dataclass
class LineCounts:
    """How many line ends are before each offset: `offsets[i]` has `counts[i]`. The log only grows."""

    offsets: list[int] = field(default_factory=lambda: [0])
    counts: list[int] = field(default_factory=lambda: [0])

    async def line_at(self, read: Read, offset: int) -> int:
        """Return the number of the line that an offset is in, or 0 when counting takes too long."""
        deadline = time.monotonic() + SECONDS
        index = bisect_right(self.offsets, offset) - 1
        position, count = self.offsets[index], self.counts[index]
        while position < offset:
            if time.monotonic() > deadline:
                return 0
            data = await read(position, min(STEP, offset - position))
            if not data:
                break
            position += len(data)
            count += data.count(b"\n")
            self._remember(position, count)
        return count + 1

    async def offset_of(self, read: Read, line: int) -> tuple[int, int]:
        """Return where a line starts, and its number; of a line beyond the end or too far, the last known."""
        deadline = time.monotonic() + SECONDS
        index = bisect_right(self.counts, max(0, line - 2)) - 1
        position, count = self.offsets[index], self.counts[index]
        while count < line - 1 and time.monotonic() < deadline:
            data = await read(position, STEP)
            if not data:
                break
            found = data.count(b"\n")
            if count + found >= line - 1:
                at = -1
                for _ in range(line - 1 - count):
                    at = data.index(b"\n", at + 1)
                return position + at + 1, line
            position += len(data)
            count += found
            self._remember(position, count)
        return position, count + 1

    def _remember(self, position: int, count: int) -> None:
        if position - self.offsets[-1] >= STEP:
            self.offsets.append(position)
            self.counts.append(count)


_COUNTS: OrderedDict[tuple[int, str], LineCounts] = OrderedDict()


def counts_of(job_id: int, task: str, started: str) -> LineCounts:
    """Return the line counts kept for a task's log; `started` tells the runs of a resumed task apart."""
    key = (job_id, f"{task} {started}")
    counts = _COUNTS.setdefault(key, LineCounts())
    _COUNTS.move_to_end(key)
    while len(_COUNTS) > _KEPT:
        _COUNTS.popitem(last=False)
    return counts


async def read_forward(read: Read, offset: int, line: int, *, whole_lines: bool = False) -> Part:
    """Return the part that starts at an offset. `whole_lines`: leave out a last line without an end."""
    data = await read(offset, PART_BYTES)
    if len(data) == PART_BYTES or (whole_lines and len(data) < PART_BYTES):
        end = data.rfind(b"\n") + 1
        data = data[:end] if end or len(data) < PART_BYTES else data
    return Part(_first_lines(data), offset, line)


async def read_backward(read: Read, before: int, line: int) -> Part:
    """Return the part that ends at an offset; `line` is the number of the line there, or 0."""
    start = max(0, before - PART_BYTES)
    data = await read(start, before - start)
    if start:
        cut = data.find(b"\n", 0, len(data) - 1) + 1
        start, data = start + cut, data[cut:]
    kept = _last_lines(data)
    start += len(data) - len(kept)
    return Part(kept, start, max(1, line - kept.count(b"\n")) if line else 0)


def _first_lines(data: bytes) -> bytes:
    at = -1
    for _ in range(PART_LINES):
        at = data.find(b"\n", at + 1)
        if at < 0:
            return data
    return data[: at + 1]


def _last_lines(data: bytes) -> bytes:
    at = len(data)
    for _ in range(PART_LINES + 1):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return data
    return data[at + 1 :]


def find_text(text: str) -> Wanted:
    """Return what finds a text, in upper or lower case."""
    needle = text.encode()
    return Wanted(re.compile(re.escape(needle), re.IGNORECASE), (needle.lower(),))


async def search(read: Read, wanted: Wanted, offset: int, line: int, most: int = HITS) -> Hits:
    """Return the lines from `offset` on that match, without their control sequences."""
    deadline = time.monotonic() + SECONDS
    hits: list[Hit] = []
    while True:
        data = await read(offset, SEARCH_STEP)
        end = len(data) if len(data) < SEARCH_STEP else data.rfind(b"\n") + 1 or len(data)
        data = data[:end]
        if not data:
            return Hits(hits, -1, 0)
        text = _ESCAPES.sub(b"", data) if b"\x1b" in data else data
        counted, number = 0, line
        for match in wanted.matches(text):
            number += text.count(b"\n", counted, match.start())
            counted = match.start()
            if not hits or hits[-1].line != number:
                hits.append(Hit(number, _around(text, match)))
                if len(hits) == most:
                    return Hits(hits, offset + len(data), line + data.count(b"\n"))
        offset += len(data)
        line += data.count(b"\n")
        if time.monotonic() > deadline:
            return Hits(hits, offset, line)


def _around(text: bytes, match: re.Match[bytes]) -> str:
    start = max(text.rfind(b"\n", 0, match.start()) + 1, match.start() - SHOWN_AROUND)
    end = text.find(b"\n", match.end())
    end = min(end if end >= 0 else len(text), match.end() + SHOWN_AROUND)
    return text[start:end].decode("utf-8", errors="replace").strip()
