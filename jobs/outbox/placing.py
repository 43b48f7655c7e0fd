"""Place the comments of a review in a diff: which lines can carry one, and which were said already. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from jobs.forges.pulls import LineComment, Thread

# GitHub refuses a longer text. The mark comes on top.
LONGEST = 65_000
_HUNK = re.compile(r"@@ -(?P<old>\d+)(?:,\d+)? \+(?P<new>\d+)(?:,\d+)? @@")
_MENTION = re.compile(r"@(?=[A-Za-z0-9])")
_COMMAND = re.compile(r"^([ \t>]*)/(?=[A-Za-z])", re.MULTILINE)
_MARK = re.compile(r"\s*<!-- offload:[0-9a-f]+ -->\s*")


@dataclass(frozen=True)
class PlacedReview:
    """A review exactly as it will appear. `notes`: what was changed in placing it, as sentences."""

    verdict: str
    body: str
    comments: tuple[LineComment, ...]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Return a hash of all of it, by which a person's yes names what they saw."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def defuse(text: str) -> str:
    """Return a text that notifies no user and gives no command to a bot when it is posted.

    What a job reports has words of strangers in it: names of files and tests, subjects of commits.
    """
    return _COMMAND.sub(r"\1\\/", _MENTION.sub("@\u200b", text))


def with_mark(text: str, mark: str) -> str:
    """Return the text with an invisible mark by which it is found again."""
    return f"{text}\n\n<!-- {mark_text(mark)} -->"


def mark_text(mark: str) -> str:
    """Return what to search for."""
    return f"offload:{mark}"


def right_lines(patch: str) -> frozenset[int]:
    """Return the line numbers of the new file that a hunk of the patch shows."""
    lines: set[int] = set()
    number = 0
    for line in patch.split("\n"):
        if match := _HUNK.match(line):
            number = int(match["new"])
        elif number and line[:1] in ("+", " "):
            lines.add(number)
            number += 1
    return frozenset(lines)


def place(
    verdict: str,
    body: str,
    comments: Iterable[LineComment],
    files: Mapping[str, str],
    threads: Sequence[Thread],
) -> PlacedReview:
    """Return the review with each comment where the forge accepts it.

    `files`: the changed files with their patch. A comment outside of the hunks becomes one on the file, one
    on a file that is not changed becomes a line of the body, and one that a thread says already is left out.
    """
    said = {(thread.path, _words(text)) for thread in threads for text in thread.bodies}
    placed: list[LineComment] = []
    notes: list[str] = []
    for comment in comments:
        where = f"{comment.path}:{comment.line}" if comment.line else comment.path
        about_file = replace(comment, line=None, start_line=None, body=f"Line {comment.line}: {comment.body}")
        forms = {(comment.path, _words(comment.body)), (comment.path, _words(about_file.body))}
        if forms & said:
            notes.append(f"The comment on {where} is left out: a thread says the same.")
            continue
        said |= forms
        if comment.path not in files:
            body = f"{body}\n\n{where}: {comment.body}".strip()
            notes.append(f"The comment on {where} is part of the text: the change does not touch the file.")
        elif comment.line is not None and comment.line not in right_lines(files[comment.path]):
            placed.append(about_file)
            notes.append(f"The comment on {where} is one on the file: the line is outside of the diff.")
        else:
            placed.append(comment)
    if len(body) > LONGEST:
        body = f"{body[:LONGEST]}\n[cut]"
        notes.append(f"The text is cut to {LONGEST} characters.")
    return PlacedReview(verdict, body, tuple(placed), tuple(notes))


def _words(text: str) -> str:
    return " ".join(_MARK.sub(" ", text).split())
