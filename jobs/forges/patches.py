"""The lines of a file's patch, as forges give it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_HUNK = re.compile(r"@@ -(?P<old>\d+)(?:,\d+)? \+(?P<new>\d+)(?:,\d+)? @@")


class PatchLine(NamedTuple):
    """A line of a patch with its numbers in the old and the new file."""

    text: str
    old: int
    new: int


def hunk_lines(patch: str) -> Iterator[PatchLine]:
    """Yield the hunks' headers and lines; a header has the numbers of the first line below it."""
    old = new = 0
    for text in patch.split("\n"):
        if match := _HUNK.match(text):
            old, new = int(match["old"]), int(match["new"])
            yield PatchLine(text, old, new)
        elif new and text[:1] in ("+", "-", " "):
            yield PatchLine(text, old, new)
            old += text[0] != "+"
            new += text[0] != "-"
