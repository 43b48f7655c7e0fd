"""JUnit XML as pytest, node, vitest, mocha, Surefire and Gradle write it. Untrusted: no DTD, no entities."""

from __future__ import annotations

import re
from typing import Dict, List, Optional
from xml.parsers import expat

from jobs.remote.offload_runner.steps.results.model import ERROR, FAILED, PASSED, SKIPPED, XFAIL, Report, one

_MOST_DEPTH = 200
_MOST_TEXT = 20_000  # characters of one failure
_MOST_NAME = 400  # of one suite among those around it
_MOST_SUITES = 20
_OUTCOMES = {"failure": FAILED, "error": ERROR, "skipped": SKIPPED}
_INTERNAL = ("pytest", "internal", "internal error")  # of pytest itself, not of a test
_SET_UP = ("", "initializationError", "classMethod", "executionError")
_WHOLE_FILE = ("collection failure", "collection skipped")


class _Refused(Exception):
    """The document holds what a test report never needs."""


def parse(data: bytes, report: Report) -> None:
    """Add the tests of a document to `report`; of one that breaks off, the tests before the break."""
    parser = expat.ParserCreate()
    reader = _Reader(report)
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        # Whatever the encoding is, a declaration is refused before it is used; this is the cheap first check.
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise _Refused("it declares a document type or an entity")
        parser.Parse(data, True)
    except _Refused as exc:
        report.cases.clear()
        report.cut("A test report was refused: %s." % exc)
    except (expat.ExpatError, ValueError, LookupError, UnicodeError) as exc:
        report.cut("A test report breaks off or is not XML: %s." % exc)


def _refuse(*_: object) -> None:
    raise _Refused("it declares a document type or an entity")


class _Reader:
    def __init__(self, report: Report) -> None:
        self.report = report
        self.depth = 0
        self.suites: List[Dict[str, str]] = []
        self.case: Optional[Dict[str, str]] = None
        self.outcome = PASSED
        self.message = ""
        self.inside = ""  # failure, error or skipped
        self.chunks: List[str] = []
        self.size = 0

    def start(self, tag: str, attributes: Dict[str, str]) -> None:
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise _Refused("it is nested too deeply")
        if tag == "testsuite":
            self.suites.append(attributes)
        elif tag == "testcase":
            self.case, self.outcome, self.message = attributes, PASSED, ""
            self.chunks, self.size = [], 0
        elif self.case is not None and tag in _OUTCOMES:
            outcome = _OUTCOMES[tag]
            kind = attributes.get("type", "")
            if tag == "skipped" and kind in ("pytest.xfail", "todo"):
                outcome = XFAIL
            # node marks a failing "todo" test with both; the mark counts. A teardown error counts as well.
            if self.outcome != XFAIL and (self.outcome == PASSED or outcome in (FAILED, ERROR)):
                self.outcome = outcome
            self.message = self.message or attributes.get("message", "") or attributes.get("type", "")
            self.inside = tag

    def text(self, data: str) -> None:
        if self.inside and self.size < _MOST_TEXT:
            self.chunks.append(data[:_MOST_TEXT])
            self.size += len(data)

    def end(self, tag: str) -> None:
        self.depth -= 1
        if tag == "testsuite" and self.suites:
            self.suites.pop()
        elif tag == "testcase" and self.case is not None:
            self._add(self.case)
            self.case = None
        elif tag == self.inside:
            self.inside = ""

    def _add(self, case: Dict[str, str]) -> None:
        if self.report.is_full:
            self.report.add("", self.outcome)  # says so
            return
        file = case.get("file") or (self.suites[-1].get("file", "") if self.suites else "")
        suite = case.get("classname", "")
        if not file and _is_path(suite):  # vitest
            file, suite = suite, ""
        elif suite == "test" and not case.get("line"):  # node: the suites are elements
            suite = " > ".join(element.get("name", "")[:_MOST_NAME] for element in self.suites[:_MOST_SUITES])
        elif not suite and self.suites and not case.get("line") and not case.get("file"):
            suite = self.suites[-1].get("name", "")
        seconds: Optional[float]
        try:
            seconds = round(float(case.get("time", "").replace(",", "")), 6)
        except ValueError:
            seconds = None
        if (suite, case.get("name"), self.message) == _INTERNAL and self.outcome == ERROR:
            last = [line.strip() for line in "".join(self.chunks).splitlines() if line.strip()][-1:]
            self.report.cut("pytest ended with an error of its own: %s" % one(" ".join(last)))
            return
        name = case.get("name", "")
        whole = self.message in _WHOLE_FILE and not case.get("line")
        if self.outcome in (FAILED, ERROR) and not whole:
            if self.message == "test failed" and _is_path(name):  # node: the file ended before its tests
                whole, file, suite, self.message, self.chunks = True, name, "", "", []
            elif file and file == name:  # vitest
                whole = True
            elif name in _SET_UP and suite:  # Surefire, Gradle
                whole, name = True, "%s of %s" % (name, suite) if name else suite
        text = "".join(self.chunks)
        message = self.message
        if whole or not message or message.startswith("failed on "):
            message = (_exception(text) if whole else "") or _assertion(text) or message
        self.report.add(
            name,
            self.outcome,
            suite=suite,
            file=file,
            seconds=seconds,
            message=message.split("\n")[0],
            text=text,
            whole_file=whole,
        )


def _is_path(text: str) -> bool:
    return "/" in text or text.endswith((".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts"))


def _exception(text: str) -> str:
    """Return the last line of a pytest report that names an exception."""
    named = re.findall(r"^E +([\w.]+(?:Error|Exception|Warning|Exit)\b.*)$", text, re.MULTILINE)
    return str(named[-1]).strip() if named else ""


def _assertion(text: str) -> str:
    """Return the line of a pytest report that names the exception."""
    marked = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    first = [line.strip() for line in text.splitlines() if line.strip()]
    return marked[0] if marked else (first[0] if first else "")
