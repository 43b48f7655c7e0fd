"""A `git diff` as rows for a page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

MAX_BYTES = 2_000_000
MAX_LINES_PER_FILE = 3_000


@dataclass(frozen=True)
class Line:
    """One line: `kind` is add, del or same; numbers are empty on the side where the line is not."""

    kind: str
    old: str
    new: str
    text: str


@dataclass(frozen=True)
class Hunk:
    """A stretch of lines with its header."""

    header: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class FileDiff:
    """One file of the change."""

    path: str
    was: str
    status: str
    added: int
    removed: int
    binary: bool
    hunks: Sequence[Hunk]
    cut: bool


@dataclass(frozen=True)
class Diff:
    """The whole change. `note` says what is not shown, and why; `raw` is the text when it is unreadable."""

    files: Sequence[FileDiff]
    note: str = ""
    raw: str = ""

    @property
    def added(self) -> int:
        """Return the lines added."""
        return sum(file.added for file in self.files)

    @property
    def removed(self) -> int:
        """Return the lines removed."""
        return sum(file.removed for file in self.files)


_KINDS = {"+": "add", "-": "del", " ": "same"}


def parse(data: bytes) -> Diff:
    """Return the diff, up to a size that a browser can show; what is left out is said."""
    note = ""
    if len(data) > MAX_BYTES:
        cut = data.rfind(b"\ndiff --git ", 0, MAX_BYTES)
        data = data[: cut + 1] if cut > 0 else data[:MAX_BYTES]
        note = f"The change is larger than {MAX_BYTES // 1_000_000} MB; only its first files are shown."
    text = data.decode("utf-8", errors="replace")
    try:
        patch = PatchSet(text)
    except UnidiffParseError as error:
        return Diff(
            [], note=f"The diff could not be read as one ({error}); here it is as git wrote it.", raw=text
        )
    return Diff([_file(file) for file in patch], note=note)


def _file(file: object) -> FileDiff:
    hunks: list[Hunk] = []
    shown = 0
    cut = False
    for hunk in file:  # type: ignore[attr-defined]
        if shown >= MAX_LINES_PER_FILE:
            cut = True
            break
        lines = [
            Line(
                _KINDS[line.line_type],
                str(line.source_line_no or ""),
                str(line.target_line_no or ""),
                line.value.rstrip("\n"),
            )
            for line in hunk
            if line.line_type in _KINDS
        ]
        shown += len(lines)
        header = f"@@ -{hunk.source_start},{hunk.source_length} +{hunk.target_start},{hunk.target_length} @@"
        hunks.append(Hunk(f"{header} {hunk.section_header}".strip(), lines))
    status = (
        "added" if file.is_added_file  # type: ignore[attr-defined]
        else "deleted" if file.is_removed_file  # type: ignore[attr-defined]
        else "renamed" if file.is_rename  # type: ignore[attr-defined]
        else "changed"
    )  # fmt: skip
    was = (file.source_file or "").removeprefix("a/") if status == "renamed" else ""  # type: ignore[attr-defined]
    return FileDiff(
        path=file.path,  # type: ignore[attr-defined]
        was=was,
        status=status,
        added=file.added,  # type: ignore[attr-defined]
        removed=file.removed,  # type: ignore[attr-defined]
        binary=file.is_binary_file,  # type: ignore[attr-defined]
        hunks=hunks,
        cut=cut,
    )
