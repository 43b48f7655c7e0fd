"""Place the comments of a review in a diff: which lines can carry one, and which were said already. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from jobs.forges.patches import PatchLine, hunk_lines
from jobs.forges.pulls import LineComment, Thread
from jobs.outbox.preview import Preview

# GitHub refuses a longer text. The mark comes on top.
LONGEST = 65_000
CONTEXT_LINES = 4
TITLES = {
    "COMMENT": "Review: comment",
    "APPROVE": "Review: approve",
    "REQUEST_CHANGES": "Review: request changes",
}
_MENTION = re.compile(r"@(?=[A-Za-z0-9])")
_COMMAND = re.compile(r"^([ \t>]*)/(?=[A-Za-z])", re.MULTILINE)
_MARK = re.compile(r"\s*<!-- offload:[0-9a-f]+(?:-[0-9a-f]+)? -->\s*")


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
    return frozenset(line.new for line in hunk_lines(patch) if line.text[0] in "+ ")


def excerpt(patch: str, number: int) -> str:
    """Return the lines of a hunk up to a line of the new file, as a patch; empty without that line."""
    before: deque[PatchLine] = deque(maxlen=CONTEXT_LINES)
    for line in hunk_lines(patch):
        if line.text[0] == "@":
            before.clear()
            continue
        before.append(line)
        if line.new == number and line.text[0] != "-":
            header = f"@@ -{before[0].old} +{before[0].new} @@"
            return "\n".join([header, *(shown.text for shown in before)])
    return ""


def place_review(
    verdict: str,
    body: str,
    comments: Iterable[LineComment],
    files: Mapping[str, str],
    threads: Sequence[Thread],
) -> Preview:
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
    contexts = (excerpt(files.get(c.path, ""), c.line) if c.line is not None else "" for c in placed)
    return Preview(
        TITLES[verdict], body, verdict, tuple(placed), contexts=tuple(contexts), notes=tuple(notes)
    )


def _words(text: str) -> str:
    return " ".join(_MARK.sub(" ", text).split())
