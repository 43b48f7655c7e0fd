"""Find and read the results that a test run left: files in its results directory, in the tree, or its log."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from jobs.remote.offload_runner.files import untrusted
from jobs.remote.offload_runner.steps.results import documents, junit, lines
from jobs.remote.offload_runner.steps.results.model import (
    FAILING,
    MOST_CASES,
    Case,
    Report,
    Results,
    numbered,
)

FILE_LIMIT = 32 * 1024 * 1024  # bytes of one report
TOTAL_LIMIT = 256 * 1024 * 1024  # of all reports of a run
LOG_LIMIT = 16 * 1024 * 1024
_MOST_FILES = 2000
_MOST_ENTRIES = 200_000
_SKIPPED_FOLDERS = (".git", ".venv", "node_modules")
_PLACE = re.compile(
    r"(?<![\w.-])(?P<file>(?:\.{0,2}/)?(?:[\w@.+\[\]-]+/)*[\w@.+\[\]-]+\.\w+)(?::|\", line |\()(?P<line>\d+)"
)
_FOREIGN = re.compile(
    r"(^|/)(node_modules|site-packages|\.venv|dist-packages|lib/python[\d.]+)/|^/|^node:|^\.\./"
)


def collect(
    directory: Path, tree: Path, globs: Sequence[str], log: Optional[Path], since: float = 0.0
) -> Results:
    """Return the results of one test run.

    `directory` is the run's own results directory, `globs` name further reports below `tree` that are not
    older than `since` (seconds since the epoch), and `log` is read when there is no report. A report that
    cannot be read is a note.
    """
    report = Report()
    sources = []
    left = TOTAL_LIMIT
    for root, name in [*_files(directory, ["*"], 0.0), *_files(tree, globs, since)]:
        one = Report()
        if left <= 0 or len(report.cases) >= MOST_CASES:
            report.complete = False
            report.notes.append("There are more or larger test reports than are read: %s is not." % name)
            break
        try:
            data = untrusted.read(root, name, limit=FILE_LIMIT)
        except (OSError, ValueError) as exc:
            report.complete = False
            report.notes.append("The test report %s could not be read: %s." % (os.path.basename(name), exc))
            continue
        left -= len(data)
        kind = _parse(name, data, one)
        if kind:
            sources.append(kind)
            report.cases += one.cases
            report.named = report.named and one.named
        report.notes += one.notes
        report.complete = report.complete and one.complete
    if not sources and log is not None:
        try:
            kind = lines.parse(_log(log), report)
        except OSError as exc:
            kind = ""
            report.notes.append("The log of the tests could not be read: %s." % exc.strerror)
        if kind:
            sources.append(kind)
    cases = tuple(_placed(case, tree) for case in report.cases)
    return Results(
        numbered(cases),
        report.complete,
        report.named,
        tuple(dict.fromkeys(report.notes)),
        ", ".join(dict.fromkeys(sources)),
    )


def _parse(name: str, data: bytes, report: Report) -> str:
    if not data.strip():
        report.notes.append("The test report %s is empty." % os.path.basename(name))
        report.complete = False
        return ""
    if name.endswith((".json", ".jsonl")):
        documents.parse(data, report)
        return "JSON"
    if name.endswith(".tap"):
        return lines.parse(data.decode("utf-8", "replace"), report)
    junit.parse(data, report)
    return "JUnit XML"


def _files(root: Path, globs: Sequence[str], since: float) -> List[Tuple[Path, str]]:
    """Return the files below `root` that match, as paths relative to it. Links are not followed."""
    if not globs:
        return []
    found: List[str] = []
    seen = 0
    for folder, folders, names in os.walk(str(root), followlinks=False):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        seen += len(names) + len(folders)
        if seen > _MOST_ENTRIES:
            break
        for name in names:
            relative = os.path.relpath(os.path.join(folder, name), str(root))
            if any(_matches(relative, pattern) for pattern in globs) and _changed(root / relative) >= since:
                found.append(relative)
    return [(root, name) for name in sorted(found)[:_MOST_FILES]]


def _changed(path: Path) -> float:
    try:
        return os.lstat(str(path)).st_mtime + 1.0  # some file systems keep whole seconds
    except OSError:
        return 0.0


def _matches(path: str, pattern: str) -> bool:
    return fnmatch.fnmatch(path, pattern) or (
        pattern.startswith("**/") and fnmatch.fnmatch(path, pattern[len("**/") :])
    )


def _log(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(LOG_LIMIT).decode("utf-8", "replace")


def _placed(case: Case, tree: Path) -> Case:
    """Return the case with paths relative to the tree, and with the place of its failure."""
    prefix = "%s/" % tree
    file = relative(case.file, prefix)
    if case.outcome not in FAILING:
        return replace(case, file=file)
    text = [line.replace(prefix, "").replace("file://", "") for line in case.lines]
    at_file, at_line = place(text, file)
    return replace(
        case, file=file, lines=tuple(text), message=case.message.replace(prefix, ""), at_file=at_file,
        at_line=at_line,
    )  # fmt: skip


def relative(path: str, prefix: str) -> str:
    """Return a path without the tree that it is in."""
    if path.startswith("file://"):
        path = path[len("file://") :]
    path = path[len(prefix) :] if path.startswith(prefix) else path
    return path[2:] if path.startswith("./") else path


def place(text: Sequence[str], file: str = "") -> Tuple[str, Optional[int]]:
    """Return where a failure is: the frame in the test's own file if there is one, else one in the tree.

    Of a Python traceback the last frame counts, of every other stack the first.
    """
    frames = []
    for line in text:
        if "SKIPPED" in line or "Warning:" in line:
            continue
        for match in _PLACE.finditer(line):
            name = match["file"][2:] if match["file"].startswith("./") else match["file"]
            if not _FOREIGN.search(name):
                frames.append((name, int(match["line"])))
    own = [frame for frame in frames if frame[0] == file] or frames
    if not own:
        return "", None
    is_python = own[0][0].endswith(".py")
    return own[-1] if is_python else own[0]
