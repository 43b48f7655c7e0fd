"""Find and read the results that a test run left: files in its results directory, in the tree, or its log."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from jobs.remote.offload_runner.files import untrusted
from jobs.remote.offload_runner.steps.results import documents, junit, lines
from jobs.remote.offload_runner.steps.results.model import (
    FAILING,
    Case,
    Report,
    Results,
    numbered,
)

FILE_LIMIT = 32 * 1024 * 1024  # bytes of one report
TOTAL_LIMIT = 256 * 1024 * 1024  # of all reports of a run
LOG_LIMIT = 16 * 1024 * 1024
_MOST_FILES = 2000
_MOST_ALIKE = 1000  # files of one name
_MOST_ENTRIES = 200_000
_MOST_LINE = 1000  # characters in which a place is looked for
_LOG = "/log"  # which no report is called
_SKIPPED_FOLDERS = (".git", ".venv", "node_modules")
# A file and a line, in two steps whose time grows with the length of the text only.
_NUMBER = re.compile(r"(?<![\w@.+\[\]/-])(?P<before>[\w@.+\[\]/-]+)(?::|\", line |\()(?P<line>\d{1,9})(?!\d)")
_FILE = re.compile(r"(?:\.{0,2}/)?(?:[\w@.+\[\]-]+/)*[\w@.+\[\]-]+\.\w+")
_FOREIGN = re.compile(
    r"(^|/)(node_modules|site-packages|\.venv|dist-packages|lib/python[\d.]+)/|^/|^node:|^\.\./"
)


def collect(
    directory: Path,
    tree: Path,
    globs: Sequence[str],
    log: Optional[Path],
    since: float = 0.0,
    folder: str = "",
) -> Results:
    """Return the results of one test run.

    `directory` is the run's own results directory, `globs` name further reports below `tree` that are not
    older than `since` (seconds since the epoch), and `log` is read when there is no report. `folder`, below
    the tree, is where the tests ran. A report that cannot be read is a note.
    """
    report = Report()
    sources = []
    left = TOTAL_LIMIT
    for root, name in [*_files(directory, ["*"], 0.0, report), *_files(tree, globs, since, report)]:
        one = report.part()
        if left <= 0 or report.is_full:
            report.cut("There are more or larger test reports than are read: %s is not." % name)
            break
        try:
            data = untrusted.read(root, name, limit=FILE_LIMIT)
        except (OSError, ValueError) as exc:
            report.cut("The test report %s could not be read: %s." % (os.path.basename(name), exc))
            continue
        left -= len(data)
        kind = _parse(name, data, one)
        if kind:
            sources.append(kind)
        else:
            one.cases.clear()
        report.take(one)
    if not sources and log is not None:
        try:
            kind = _parse(_LOG, _log(log), report)
        except OSError as exc:
            kind = ""
            report.note("The log of the tests could not be read: %s." % exc.strerror)
        if kind:
            sources.append(kind)
            if os.path.getsize(str(log)) > LOG_LIMIT:
                report.cut("Only the first %d bytes of the tests' log were read." % LOG_LIMIT)
    places = _Places(tree, folder)
    cases = tuple(_placed(case, tree, places) for case in report.cases)
    return Results(
        numbered(cases),
        report.complete,
        report.named,
        tuple(dict.fromkeys(report.notes)),
        ", ".join(dict.fromkeys(sources)),
    )


def _parse(name: str, data: bytes, report: Report) -> str:
    """Add the tests of a report, or of a log, and return its format; "" when it has none that is known."""
    if name != _LOG and not data.strip():
        report.cut("The test report %s is empty." % os.path.basename(name))
        return ""
    try:
        if name.endswith((".json", ".jsonl")):
            documents.parse(data, report)
            return "JSON"
        if name.endswith(".tap") or name == _LOG:
            return lines.parse(data.decode("utf-8", "replace"), report)
        junit.parse(data, report)
        return "JUnit XML"
    except Exception as exc:  # what a stranger wrote costs its report and nothing else
        report.cut("The test report %s could not be read: %r." % (os.path.basename(name), exc))
        return "unknown" if report.cases else ""


def _files(root: Path, globs: Sequence[str], since: float, report: Report) -> List[Tuple[Path, str]]:
    """Return the files below `root` that match, as paths relative to it. Links are not followed."""
    if not globs or os.path.islink(str(root)):
        return []
    found: List[str] = []
    seen = 0
    for folder, folders, names in os.walk(str(root), followlinks=False):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        seen += len(names) + len(folders)
        if seen > _MOST_ENTRIES:
            report.cut("There are more files than test reports are looked for in.")
            break
        for name in names:
            relative = os.path.relpath(os.path.join(folder, name), str(root))
            if any(_matches(relative, pattern) for pattern in globs) and _changed(root / relative) >= since:
                found.append(relative)
    if len(found) > _MOST_FILES:
        report.cut("Only the first %d of %d test reports were read." % (_MOST_FILES, len(found)))
    return [(root, name) for name in sorted(found)[:_MOST_FILES]]


def _walk(root: Path) -> Iterator[str]:
    """Yield the paths of the files below `root`, relative to it, up to a limit. Links are not followed."""
    seen = 0
    for folder, folders, names in os.walk(str(root), followlinks=False):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        seen += len(names) + len(folders)
        if seen > _MOST_ENTRIES:
            return
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), str(root))


def _changed(path: Path) -> float:
    try:
        return os.lstat(str(path)).st_mtime + 1.0  # some file systems keep whole seconds
    except OSError:
        return 0.0


def _matches(path: str, pattern: str) -> bool:
    return fnmatch.fnmatch(path, pattern) or (
        pattern.startswith("**/") and fnmatch.fnmatch(path, pattern[len("**/") :])
    )


def _log(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(LOG_LIMIT)


class _Places:
    """Finds files of a tree by the paths that test runners print, which may start in another folder."""

    def __init__(self, tree: Path, folder: str) -> None:
        self.tree = tree
        self.folder = folder
        self._folders: Optional[Dict[str, List[str]]] = None  # of Go's files, by their names

    def of(self, path: str) -> str:
        """Return a printed path from the top of the tree."""
        inside = os.path.normpath(os.path.join(self.folder, path))
        return inside if not self._has(path) and self._has(inside) else path

    def of_package(self, name: str, package: str) -> str:
        """Return the path of a file of a Go package: in the deepest folder that the package ends with."""
        if self._folders is None:
            self._folders = {}
            for path in _walk(self.tree):
                if path.endswith(".go"):
                    self._folders.setdefault(os.path.basename(path), []).append(os.path.dirname(path))
        folders = self._folders.get(name, [])
        fitting = [one for one in folders[:_MOST_ALIKE] if not one or ("/" + package).endswith("/" + one)]
        chosen = max(fitting, key=len) if fitting else folders[0] if len(folders) == 1 else ""
        return os.path.join(chosen, name)

    def _has(self, path: str) -> bool:
        return not path.startswith("..") and os.path.lexists(str(self.tree / path))


def _placed(case: Case, tree: Path, places: _Places) -> Case:
    """Return the case with paths relative to the tree, and with the place of its failure."""
    prefix = "%s/" % tree
    file = relative(case.file, prefix)
    # Some name a file that cannot be loaded by its whole path, which is another on the base.
    case = replace(case, name=case.name.replace(prefix, ""), suite=case.suite.replace(prefix, ""))
    if case.outcome not in FAILING:
        return replace(case, file=file)
    text = [line.replace(prefix, "").replace("file://", "") for line in case.lines]
    if case.whole_file:
        at_file, at_line = place(text)  # what it imports may be at fault
    else:
        at_file, at_line = place(text, file)
    is_go = at_file.endswith(".go")
    if is_go and "/" not in at_file and not file:
        at_file = places.of_package(at_file, case.suite)
    elif at_file or file:
        found = places.of(at_file or file)
        at_file = found if at_file or found != file else ""
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
        for match in _NUMBER.finditer(line[:_MOST_LINE]):
            path = match["before"]
            path = path[path.rfind("//") + 1 :]  # as of "file:///tree/a.js"
            name = path[2:] if path.startswith("./") else path
            if _FILE.fullmatch(path) and not _FOREIGN.search(name):
                frames.append((name, int(match["line"])))
    own = [frame for frame in frames if frame[0] == file] or frames
    if not own:
        return "", None
    is_python = own[0][0].endswith(".py")
    return own[-1] if is_python else own[0]
