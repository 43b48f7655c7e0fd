"""Check an agent's findings against the diff: is the line that a finding quotes where it says?

A finding gets `verified` and, when it is not, `why_not`; it is an opinion then, and a note at most. Which
line a finding is about is decided by its quote: agents miscount lines.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.steps.record import Job
from jobs.remote.offload_runner.steps.trees import SOURCE_LIMIT, source

# A line of the diff: its number on the head (None: the change removes it), and its words.
Line = Tuple[Optional[int], str]
_HUNK = re.compile(rb"@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@")


def verify(job: Job, findings: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return the findings, each with `verified` and `why_not`."""
    changed = {shown(item["path"]): item for item in job.changed} if job.merge_base else {}
    diffs: Dict[str, List[Line]] = {}
    found = []
    for finding in findings:
        file = _relative(job, finding["file"])
        if file in changed and file not in diffs:
            diffs[file] = list(_lines(job, changed[file]))
        line, why_not = _find(diffs.get(file), finding["quote"], finding["line"])
        severity = "note" if why_not else finding["severity"]
        place = {"file": file or None, "line": line, "severity": severity}
        found.append({**finding, **place, "verified": not why_not, "why_not": why_not or None})
    return found


def _relative(job: Job, file: Optional[str]) -> str:
    """Return a file as the diff names it; an agent that reads files may say where they are."""
    name = file or ""
    for prefix in ("%s/" % job.paths.worktree, "./"):
        name = name[len(prefix) :] if name.startswith(prefix) else name
    return name


def _find(lines: Optional[List[Line]], quote: str, line: Optional[int]) -> Tuple[Optional[int], str]:
    """Return the line that is quoted, or the one that was said and why it is not verified."""
    if lines is None:
        return line, "the change does not touch a file of that name"
    wanted = _words(quote)
    if not wanted:
        return line, "it quotes no line"
    # A line that is taken from the diff may have its sign.
    for words in (wanted, _words(wanted[1:]) if wanted[0] in "+-" else ""):
        numbers = [number for number, text in lines if words and text == words]
        if line is not None and line in numbers:
            return line, ""
        if len(numbers) == 1:
            return numbers[0], ""
        if numbers:
            return line, "the quoted line is in the diff more than once, and not where it says"
    return line, "the quoted line is not in the diff of the file"


def _lines(job: Job, item: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the lines of a changed file's diff, with three lines around each change."""
    if item["binary"]:
        return
    path, old_path = item["path"], item["old_path"] or item["path"]
    if item["status"] in ("A", "D"):
        is_new = item["status"] == "A"
        data = source(job, job.sha if is_new else job.merge_base, path) or b""
        for number, text in enumerate(data.split(b"\n"), 1):
            yield number if is_new else None, _words(text.decode("utf-8", "replace"))
        return
    diff = job.git.beginning(
        SOURCE_LIMIT, "diff", "-U3", "--no-color", "--no-ext-diff", "--no-textconv",
        "%s:%s" % (job.merge_base, old_path), "%s:%s" % (job.sha, path),
    )  # fmt: skip
    number = 0
    for text in diff.split(b"\n"):
        match = _HUNK.match(text)
        if match:
            number = int(match[1])
        elif number and text[:1] in (b"+", b"-", b" "):
            yield None if text[:1] == b"-" else number, _words(text[1:].decode("utf-8", "replace"))
            number += text[:1] != b"-"


def _words(text: str) -> str:
    return " ".join(text.split())
