"""A `git diff` as pages of bounded size. Pure.

The text is split into files and their lines are counted first, which takes milliseconds for megabytes. Only
the lines that a page shows are parsed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from django.utils.safestring import SafeString, mark_safe

MAX_BYTES = 20_000_000
FILES_PER_PAGE = 100
LINES_PER_PAGE = 3_000
LONGEST_LINE = 1_000
LONGEST_LIST = 1_000
LONGEST_RAW = 200_000

_FILE = re.compile(rb"^diff --git ", re.MULTILINE)
_NEW_NAME = re.compile(rb'^\+\+\+ (?:"?b/(?P<new>[^\n\t]*?)"?\t?$|/dev/null)', re.MULTILINE)
_RENAMED = re.compile(r"^rename from (?P<was>.*)$", re.MULTILINE)
_HUNK = re.compile(rb"@@ -(?P<old>\d{1,9})(?:,\d+)? \+(?P<new>\d{1,9})(?:,\d+)? @@")
_KINDS = {b"+": ("add", "+"), b"-": ("del", "−"), b" ": ("same", " ")}


@dataclass(frozen=True)
class FileEntry:
    """One file in the list of files. `anchor`: its address, on this page or on another one."""

    path: str
    added: int
    removed: int
    anchor: str


@dataclass(frozen=True)
class Note:
    """A finding at a line of the head; `line` is 0 when it is about the file."""

    number: int
    path: str
    line: int
    severity: str
    tone: str
    message: str


@dataclass(frozen=True)
class FileDiff:
    """One file of this page. `rows`: its lines as escaped table rows, with the notes at their lines.

    `notes`: those at no line of the change. A long file takes several pages.
    """

    number: int
    path: str
    was: str
    status: str
    added: int
    removed: int
    binary: bool
    rows: SafeString
    notes: Sequence[Note]
    starts_inside: bool
    goes_on: bool


@dataclass(frozen=True)
class DiffPage:
    """One page of a change. `note`: what is not shown, and why; `raw`: the text when it is not a diff.

    `commits`: of a fix, and what each answers, as text.
    """

    entries: Sequence[FileEntry]
    files: Sequence[FileDiff]
    total: int
    added: int
    removed: int
    number: int = 1
    pages: int = 1
    note: str = ""
    raw: str = ""
    commits: str = ""

    @property
    def more_entries(self) -> int:
        """Return how many files the list leaves out."""
        return self.total - len(self.entries)

    @property
    def previous(self) -> int:
        """Return the number of the page before, or 0."""
        return self.number - 1

    @property
    def next(self) -> int:
        """Return the number of the next page, or 0."""
        return self.number + 1 if self.number < self.pages else 0


EMPTY = DiffPage((), (), 0, 0, 0)


@dataclass(frozen=True)
class _Piece:
    data: bytes
    path: str
    hunks: int  # where the first hunk starts; -1 without one
    lines: int
    added: int
    removed: int


def _split(data: bytes) -> list[_Piece]:
    starts = [match.start() for match in _FILE.finditer(data)]
    pieces = []
    for start, end in itertools.pairwise([*starts, len(data)]):
        text = data[start:end]
        hunks = text.find(b"\n@@ ")
        body = text[hunks + 1 :] if hunks >= 0 else b""
        added, removed = body.count(b"\n+"), body.count(b"\n-")
        pieces.append(_Piece(text, _path(text), hunks, body.count(b"\n"), added, removed))
    return pieces


def _path(text: bytes) -> str:
    header = text[: max(text.find(b"\n@@ "), 0) or 4_000]
    name = _NEW_NAME.search(header)
    if name is not None and name["new"]:
        found = name["new"]
    else:
        found = header.partition(b"\n")[0].rpartition(b" b/")[2]
    return found.decode("utf-8", errors="replace").strip('"')


def _paginate(pieces: Sequence[_Piece]) -> list[list[tuple[int, int]]]:
    """Return the parts of each page as (index of the file, first line): a long file takes several pages."""
    pages: list[list[tuple[int, int]]] = [[]]
    left = LINES_PER_PAGE
    for index, piece in enumerate(pieces):
        for start in range(0, piece.lines or 1, LINES_PER_PAGE):
            lines = min(piece.lines - start, LINES_PER_PAGE)
            if pages[-1] and (lines > left or len(pages[-1]) >= FILES_PER_PAGE):
                pages.append([])
                left = LINES_PER_PAGE
            pages[-1].append((index, start))
            left -= lines
    return pages


def parse_diff(data: bytes, page: int = 1, notes: Sequence[Note] = (), shown: Note | None = None) -> DiffPage:
    """Return one page of a diff with notes at its lines. A page beyond the last one is the last one.

    `shown`: the note whose file the page is to have, whatever `page` says.
    """
    note = ""
    if len(data) > MAX_BYTES:
        data = data[:MAX_BYTES]
        note = f"The diff is larger than {MAX_BYTES // 1_000_000} MB; the rest is left out."
    pieces = _split(data)
    if not pieces:
        raw = data[:LONGEST_RAW].decode("utf-8", errors="replace").strip("\n")
        return replace(EMPTY, note="This is not a diff. As git printed it:", raw=raw) if raw else EMPTY
    pages = _paginate(pieces)
    page_of = {index: count for count, parts in enumerate(pages, 1) for index, start in parts if not start}
    wanted = [page_of[index] for index, piece in enumerate(pieces) if shown and piece.path == shown.path]
    number = min(max(wanted[0] if wanted else page, 1), len(pages))
    entries = [
        FileEntry(
            piece.path, piece.added, piece.removed,
            f"#f{index + 1}" if page_of[index] == number else f"?page={page_of[index]}#f{index + 1}",
        )
        for index, piece in enumerate(pieces[:LONGEST_LIST])
    ]  # fmt: skip
    files = [_parse_file(index + 1, pieces[index], start, notes) for index, start in pages[number - 1]]
    added, removed = (sum(getattr(piece, name) for piece in pieces) for name in ("added", "removed"))
    begin = _FILE.search(data)
    commits = data[: begin.start() if begin else 0].decode("utf-8", errors="replace")
    return DiffPage(entries, files, len(pieces), added, removed, number, len(pages), note, commits=commits)


def render_hunk(patch: str) -> SafeString:
    """Return the lines of a short patch, from a hunk's header on, as escaped table rows."""
    lines = patch.encode("utf-8", errors="replace").split(b"\n")
    return mark_safe("".join(_rows(lines, 1, LINES_PER_PAGE, {})))  # noqa: S308


def _parse_file(number: int, piece: _Piece, start: int, notes: Sequence[Note]) -> FileDiff:
    mine = [note for note in notes if note.path == piece.path]
    at_lines: dict[int, list[Note]] = {}
    for note in mine:
        at_lines.setdefault(note.line, []).append(note)
    header = (piece.data if piece.hunks < 0 else piece.data[: piece.hunks]).decode("utf-8", errors="replace")
    body = [] if piece.hunks < 0 else piece.data[piece.hunks + 1 :].removesuffix(b"\n").split(b"\n")
    renamed = _RENAMED.search(header)
    status = (
        "added" if "\nnew file mode " in header
        else "deleted" if "\ndeleted file mode " in header
        else "renamed" if renamed
        else "changed"
    )  # fmt: skip
    rows = "".join(_rows(body, start, start + LINES_PER_PAGE, at_lines))
    return FileDiff(
        number=number, path=piece.path, was=renamed["was"] if renamed else "", status=status,
        added=piece.added, removed=piece.removed, binary="\nBinary files " in header,
        rows=mark_safe(rows),  # noqa: S308
        notes=[note for note in mine if not start and note in itertools.chain(*at_lines.values())],
        starts_inside=start > 0, goes_on=start + LINES_PER_PAGE < len(body),
    )  # fmt: skip


def _rows(lines: Sequence[bytes], start: int, end: int, notes: dict[int, list[Note]]) -> Iterator[str]:
    """Yield table rows; texts are escaped here, because a template takes a second for a few thousand.

    A note that is yielded is taken out of `notes`.
    """
    old = new = 0
    for count, data in enumerate(lines[:end]):
        first = data[:1]
        if first == b"@" and (hunk := _HUNK.match(data)):
            old, new = int(hunk["old"]), int(hunk["new"])
            if count >= start:
                text = escape(_shorten(data))
                yield f'<tr class="hunk"><td colspan="3"><code>{text}</code></td></tr>'
        elif first in _KINDS:
            kind, sign = _KINDS[first]
            if count >= start:
                yield (
                    f'<tr class="{kind}"><td class="no" data-no="{"" if kind == "add" else old}"></td>'
                    f'<td class="no" data-no="{"" if kind == "del" else new}"></td>'
                    f'<td><code><span class="sign">{sign}</span>{escape(_shorten(data[1:]))}</code></td></tr>'
                )
            if kind != "del" and count >= start:
                yield from map(_note_row, notes.pop(new, ()))
            old += kind != "add"
            new += kind != "del"


def _note_row(note: Note) -> str:
    return (
        f'<tr class="finding tone-{note.tone}" id="finding-{note.number}"><td colspan="3">'
        f"<strong>{escape(note.severity)}</strong> <span>{escape(note.message)}</span></td></tr>"
    )


def _shorten(line: bytes) -> str:
    text = line[: 4 * LONGEST_LINE].decode("utf-8", errors="replace")[:LONGEST_LINE]
    left_out = len(line) - len(text.encode())
    return text if left_out <= 0 else f"{text} … {left_out:,} more bytes"
