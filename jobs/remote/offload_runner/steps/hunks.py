"""Proof per hunk: each changed hunk of source is taken back, and the tests must notice.

The plan says how, in the `outputs` of the task whose role is `hunks`:

    "outputs": {"setup": [shell lines], "build": [shell lines], "checks": [{"task", "shell", "results"}],
                "proof": [GROUP, ...], "seconds": budget or null}

The tests are the whole suite where the head's run took at most `_QUICK` seconds, else the changed tests. They
run in the base's tree with the head's files laid over it. The budget is as long as the head's test run took,
at least 30 seconds; hunks are tried smallest first, and what is left is counted.

The answer is `hunks.json`:

    {"schema": "offload-hunks/1", "sha", "seconds", "not_tried": n, "why_not_tried",
     "hunks": [{"path", "first", "last", "whole": bool, "result": "covered|uncovered"}]}

`first` and `last` are lines of the head; `whole` marks a file that the change adds. Exit code 0.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

from jobs.remote.offload_runner.files.paths import PROOF
from jobs.remote.offload_runner.git import worktree
from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.protocol import FAILED, SUCCEEDED
from jobs.remote.offload_runner.steps import sources
from jobs.remote.offload_runner.steps.evidence import read_outcomes
from jobs.remote.offload_runner.steps.proof import Group
from jobs.remote.offload_runner.steps.record import Job, counted, say
from jobs.remote.offload_runner.steps.restored import mark, restore
from jobs.remote.offload_runner.steps.trees import Run, content, execute, lay, put, ready_base, source

_MOST_HUNKS = 20
_QUICK = 30.0
_LEAST_BUDGET = 30.0
_HEADER = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_EMPTY = re.compile(rb"^\s*(#(?!\[).*|//.*|/?\*.*)?$")
_MANIFEST = re.compile(
    r"(^|/)(package(-lock)?\.json|yarn\.lock|pnpm-lock\.yaml|pyproject\.toml|setup\.(py|cfg)|uv\.lock|"
    r"poetry\.lock|[\w.-]*requirements[\w.-]*\.txt|Cargo\.(toml|lock)|go\.(mod|sum)|pom\.xml|"
    r"[\w.]+\.gradle(\.kts)?)$"
)


@dataclass(frozen=True)
class Hunk:
    """A changed run of lines: `old_*` and `new_*` are its first line and its number of lines on each side."""

    path: str
    old_path: str
    old_first: int
    old_count: int
    new_first: int
    new_count: int
    whole: bool = False

    @property
    def size(self) -> int:
        """Return how many lines it changes."""
        return self.old_count + self.new_count


def run(job: Job) -> int:
    """Try the hunks and write `hunks.json`."""
    began = time.monotonic()
    told = next(task for task in job.plan["tasks"] if task["role"] == "hunks")["outputs"]
    outcomes = [one for one in read_outcomes(job) if one.role == "test" and one.state in (SUCCEEDED, FAILED)]
    took = sum(one.seconds or 0.0 for one in outcomes)
    budget = float(told.get("seconds") or max(_LEAST_BUDGET, took))
    hunks = find_hunks(job)
    answer: Dict[str, Any] = {
        "schema": "offload-hunks/1",
        "sha": job.sha,
        "seconds": 0.0,
        "not_tried": len(hunks),
        "why_not_tried": "",
        "hunks": [],
    }
    why = _cannot(job, hunks, outcomes)
    runs = _commands(told, took)
    if not why and not runs:
        why = "no test command is quick enough"
    if not why:
        why = _try_all(job, told, hunks, runs, began + budget, answer)
    answer["why_not_tried"] = why
    answer["seconds"] = round(time.monotonic() - began, 3)
    job.write("hunks.json", answer)
    tried = answer["hunks"]
    covered = sum(item["result"] == "covered" for item in tried)
    say("%s tried, %d of them covered by a test." % (counted(len(tried), "hunk"), covered))
    if answer["not_tried"]:
        say("%s not tried: %s." % (counted(answer["not_tried"], "hunk"), why))
    return 0


def _cannot(job: Job, hunks: List[Hunk], outcomes: List[Any]) -> str:
    if not hunks:
        return "the change has no hunk of source"
    if any(one.state != SUCCEEDED for one in outcomes) or not outcomes:
        return "the tests do not pass"
    if not job.merge_base:
        return "there is no base"
    return ""


def _commands(told: Dict[str, Any], took: float) -> List[Tuple[str, List[str], List[str], str]]:
    """Return what to run: shell line, arguments, report globs, directory."""
    if took <= _QUICK and told.get("checks"):
        return [(one["shell"], [], list(one.get("results") or []), "") for one in told["checks"]]
    groups = [Group(**group) for group in told.get("proof") or []]
    found: List[Tuple[str, List[str], List[str], str]] = []
    for group in groups:
        prefix = group.cwd + "/" if group.cwd else ""
        names = [name[len(prefix) :] for name in group.test_files if name.startswith(prefix)]
        batches = [names] if group.runs_many and names else [[name] for name in names]
        found += [(group.shell, batch, group.results, group.cwd) for batch in batches]
    return found


def find_hunks(job: Job) -> List[Hunk]:
    """Return the changed hunks of source, smallest first. Blank lines and comments alone are left out."""
    found: List[Hunk] = []
    for item in job.changed:
        path, old_path = item["path"], item["old_path"] or item["path"]
        if item["binary"] or not sources.is_source(path) or item["status"] not in ("A", "M", "R"):
            continue
        now = source(job, job.sha, path)
        before = b"" if item["status"] == "A" else source(job, job.merge_base, old_path)
        if now is None or before is None:
            continue
        head, base = now.splitlines(), before.splitlines()
        if item["status"] == "A":
            if any(not _EMPTY.match(line) for line in head):
                found.append(Hunk(path, path, 0, 0, 1, len(head), whole=True))
            continue
        diff = job.git.out(
            "diff", "-U0", "--no-color", "--no-ext-diff", "--no-textconv",
            "%s:%s" % (job.merge_base, old_path), "%s:%s" % (job.sha, path),
        )  # fmt: skip
        for match in _HEADER.finditer(diff):
            old_first, new_first = int(match[1]), int(match[3])
            old_count = int(match[2]) if match[2] is not None else 1
            new_count = int(match[4]) if match[4] is not None else 1
            old = base[max(0, old_first - 1) : max(0, old_first - 1) + old_count] if old_count else []
            new = head[max(0, new_first - 1) : max(0, new_first - 1) + new_count] if new_count else []
            if all(_EMPTY.match(line) for line in [*old, *new]):
                continue
            found.append(Hunk(path, old_path, old_first, old_count, new_first, new_count))
    return sorted(found, key=lambda hunk: (hunk.size, hunk.path, hunk.new_first))


def take_back(hunk: Hunk, base: bytes, head: bytes) -> bytes:
    """Return the head's file with one hunk as the base has it."""
    old, new = base.splitlines(keepends=True), head.splitlines(keepends=True)
    # git counts the line before an empty side.
    old_start = hunk.old_first - 1 if hunk.old_count else hunk.old_first
    new_start = hunk.new_first - 1 if hunk.new_count else hunk.new_first
    middle = old[old_start : old_start + hunk.old_count]
    return b"".join([*new[:new_start], *middle, *new[new_start + hunk.new_count :]])


def _try_all(
    job: Job,
    told: Dict[str, Any],
    hunks: List[Hunk],
    runs: List[Tuple[str, List[str], List[str], str]],
    deadline: float,
    answer: Dict[str, Any],
) -> str:
    """Try the hunks and return why some are left, "" if none is."""
    base = ready_base(job, told.get("setup") or [], pure=True)
    if not base.built:
        return "the base could not be built"
    changed = [name for item in job.changed for name in (item["path"], item["old_path"]) if name]
    try:
        lay(job, base.path, job.sha, changed)
        lines = told.get("setup") if any(_MANIFEST.search(name) for name in changed) else told.get("build")
        for line in lines or []:
            limit = max(1.0, deadline - time.monotonic())
            if not execute(job, base.path, line, timeout=limit, place=PROOF).passed:
                return "the head cannot be built in the base's tree"
        made = mark(job, base.path)
        say("The tests on the whole change, for comparison")
        if not all(_execute(job, base.path, one, deadline).passed for one in runs):
            return "the tests do not pass in the base's tree with the head's files"
        for number, hunk in enumerate(hunks):
            if number >= _MOST_HUNKS:
                return "at most %d are tried" % _MOST_HUNKS
            if time.monotonic() >= deadline:
                return "the time for it was spent"
            restore(job, base.path, made, PROOF)  # what the tests before left
            result = _try(job, told, base.path, hunk, runs, deadline)
            if not result:
                return "the time for it was spent"
            first = hunk.new_first
            last = max(first, hunk.new_first + hunk.new_count - 1)
            say("%s %d-%d: %s" % (shown(hunk.path), first, last, result))
            answer["hunks"].append(
                {
                    "path": shown(hunk.path),
                    "first": first,
                    "last": last,
                    "whole": hunk.whole,
                    "result": result,
                }
            )
            answer["not_tried"] -= 1
            job.write("hunks.json", answer)
    finally:
        worktree.reset_base(job.paths.root, job.paths.session)
        if any(_MANIFEST.search(name) for name in changed):
            job.write("base.json", {})  # the environment is the head's by now
    return ""


def _try(
    job: Job,
    told: Dict[str, Any],
    tree: Path,
    hunk: Hunk,
    runs: List[Tuple[str, List[str], List[str], str]],
    deadline: float,
) -> str:
    """Return "covered" or "uncovered"; "" when the time was spent before it was known."""
    head = content(job, job.sha, hunk.path) or b""
    if hunk.whole:
        put(tree, hunk.path, None)
    else:
        before = content(job, job.merge_base, hunk.old_path) or b""
        put(tree, hunk.path, take_back(hunk, before, head))
    try:
        for line in told.get("build") or []:
            limit = max(1.0, deadline - time.monotonic())
            done = execute(job, tree, line, timeout=limit, place=PROOF)
            if not done.passed:
                return "" if done.timed_out else "covered"
        for one in runs:
            done = _execute(job, tree, one, deadline)
            if done.timed_out:
                return ""
            if not done.passed:
                return "covered"
        return "uncovered"
    finally:
        lay(job, tree, job.sha, [hunk.path])


def _execute(job: Job, tree: Path, one: Tuple[str, List[str], List[str], str], deadline: float) -> Run:
    shell, arguments, globs, cwd = one
    limit = max(1.0, deadline - time.monotonic())
    return execute(job, tree, shell, arguments=arguments, globs=globs, timeout=limit, cwd=cwd, place=PROOF)
