"""What the change is: its commits and files, as `context.md` and in the log."""

from __future__ import annotations

import re
from typing import Any, Dict, List

from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.steps.record import Job, counted, say

_COMMITS = 100
_FILES = 300
_VERB = {"A": "added", "M": "changed", "D": "deleted", "R": "renamed", "C": "copied", "T": "type changed"}


def run(job: Job) -> int:
    """Write `context.md` and print it. Exit code 0."""
    text = render(job)
    job.write_text("context.md", text)
    say(text.rstrip("\n"))
    return 0


def render(job: Job) -> str:
    """Return the overview of the change as Markdown."""
    subject = one_line(str(job.prepared.get("subject") or ""))
    lines = ["# %s" % (subject or job.sha[:10]), ""]
    lines.append("- head: `%s` (%s)" % (job.sha, shown(str(job.prepared.get("ref") or "HEAD"))))
    lines.append("- author: %s" % one_line(str(job.prepared.get("author") or "unknown")))
    if not job.merge_base:
        return "\n".join([*lines, "- base: none", ""])
    ahead, behind = distance(job)
    lines.append("- base: `%s` (%s)" % (job.base_sha, job.base_name))
    lines.append("- merge base: `%s`" % job.merge_base)
    lines.append("- %s ahead, %s behind the base" % (counted(ahead, "commit"), counted(behind, "commit")))
    lines += ["", "## Commits", "", *commits(job, ahead), "", "## Files", "", *overview(job.changed)]
    return "\n".join(lines) + "\n"


def distance(job: Job) -> "tuple[int, int]":
    """Return how many commits the head is ahead of the base, and behind it."""
    counts = job.git.line("rev-list", "--left-right", "--count", "%s...%s" % (job.sha, job.base_sha)).split()
    return int(counts[0]), int(counts[1])


def commits(job: Job, ahead: int) -> List[str]:
    """Return the commits of the change, oldest first, as list items."""
    output = job.git.out(
        "log", "--reverse", "--encoding=UTF-8", "--max-count=%d" % _COMMITS, "-z",
        "--format=%h%x01%an%x01%s", job.sha, "--not", job.base_sha, "--",
    ).decode("utf-8", "replace")  # fmt: skip
    items = []
    for entry in output.split("\0"):
        if entry:
            short, author, subject = entry.split("\x01", 2)
            items.append("- `%s` %s (%s)" % (short, one_line(subject), one_line(author)))
    if ahead > _COMMITS:
        items.append("- and %d earlier" % (ahead - _COMMITS))
    return items or ["No commits."]


def overview(changed: List[Dict[str, Any]]) -> List[str]:
    """Return the changed files as a Markdown table with a line of totals."""
    if not changed:
        return ["Nothing is changed."]
    added, deleted = sum(item["added"] for item in changed), sum(item["deleted"] for item in changed)
    lines = ["%s changed, +%d −%d." % (counted(len(changed), "file"), added, deleted), ""]
    lines += ["| file | change | + | − |", "|---|---|--:|--:|"]
    for item in changed[:_FILES]:
        name = code(item["path"])
        if item["old_path"]:
            name = "%s (was %s)" % (name, code(item["old_path"]))
        verb = _VERB.get(item["status"], item["status"])
        counts = ("binary", "") if item["binary"] else (str(item["added"]), str(item["deleted"]))
        lines.append("| %s | %s | %s | %s |" % (name, verb, *counts))
    if len(changed) > _FILES:
        lines.append("| and %d more | | | |" % (len(changed) - _FILES))
    return lines


def code(text: str) -> str:
    """Return a text as inline code that a Markdown table can hold."""
    plain = shown(text).replace("|", "\\|")
    fence = "`" * (max([len(run) for run in re.findall("`+", plain)] + [0]) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return "%s%s%s%s%s" % (fence, pad, plain, pad, fence)


def one_line(text: str) -> str:
    """Return an untrusted text escaped, so that it stays text in Markdown, on one line."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"[\\`*\[\]<>|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", plain)
