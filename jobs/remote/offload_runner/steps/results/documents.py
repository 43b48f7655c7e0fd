"""JSON of jest, vitest and mocha, and the JSON lines of `go test -json`."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Optional, Tuple

from jobs.remote.offload_runner.steps.results.model import ERROR, FAILED, PASSED, SKIPPED, XFAIL, Report

_MOST_VALUES = 3_000_000
_MOST_LINE = 1024 * 1024
_MOST_RUNNING = 50_000  # tests of Go that have begun and not ended
_MOST_OUTPUT = 1024 * 1024  # characters of one test
_MOST_PIECES = 10_000
_MOST_MESSAGE = 64 * 1024  # characters in which a message is looked for
_JEST = {"passed": PASSED, "failed": FAILED, "pending": SKIPPED, "skipped": SKIPPED, "todo": XFAIL,
         "disabled": SKIPPED}  # fmt: skip


def parse(data: bytes, report: Report) -> None:
    """Add the tests of a JSON document, or of JSON lines, to `report`."""
    text = data.decode("utf-8", "replace").lstrip("\ufeff")
    if _is_lines(text):
        go_lines(text, report)
        return
    if sum(map(data.count, (b"[", b"{", b","))) > _MOST_VALUES:
        report.cut("A test report has more values than are read.")
        return
    try:
        document = json.loads(text, **_NUMBERS)
    except (ValueError, RecursionError) as exc:
        if '"Action"' in text[:2000]:
            go_lines(text, report)
        else:
            report.cut("A test report breaks off or is not JSON: %s." % exc)
        return
    try:
        if isinstance(document, dict) and isinstance(document.get("testResults"), list):
            _jest(document["testResults"], report)
        elif isinstance(document, dict) and isinstance(document.get("tests"), list):
            _mocha(document, report)
        else:
            raise KeyError("testResults or tests")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as exc:
        report.cut("A test report has an unknown form: %s." % str(exc)[:200])


def _is_lines(text: str) -> bool:
    """Tell whether the first line that holds an object is one of `go test -json`."""
    start = text.find("{", 0, _MOST_LINE)
    end = text.find("\n", start, start + _MOST_LINE)
    line = text[start : end if end >= 0 else start + _MOST_LINE]
    return start >= 0 and _event(line) is not None


def _event(line: str) -> Optional[Dict[str, Any]]:
    """Return an event of `go test -json`; None for another line."""
    if not line.startswith("{") or len(line) > _MOST_LINE:
        return None
    try:
        event = json.loads(line, **_NUMBERS)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "Action" in event else None


def _whole(digits: str) -> float:
    # As a float, which is read at once and has an infinity instead of millions of digits.
    return float(digits) if len(digits) > 15 else int(digits)


_NUMBERS: Dict[str, Any] = {"parse_int": _whole}


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if isinstance(value, (dict, list)) else str(value)


def _jest(files: List[Any], report: Report) -> None:
    for file in files:
        path = _text(file.get("name", ""))
        tests = file.get("assertionResults") or []
        if not tests and file.get("status") == "failed":
            text = _text(file.get("message", ""))
            report.add(path, ERROR, file=path, message=_first(text), text=text, whole_file=True)
        for test in tests:
            texts = [_text(text) for text in test.get("failureMessages") or []]
            duration = test.get("duration")
            report.add(
                _text(test.get("title", "")),
                _JEST[_text(test.get("status"))],
                suite=" > ".join(_text(part) for part in test.get("ancestorTitles") or []),
                file=path,
                seconds=duration / 1000 if isinstance(duration, (int, float)) else None,
                message=_jest_message(texts[0]) if texts else "",
                text="\n".join(texts),
            )


def _first(text: str) -> str:
    lines = text[:_MOST_MESSAGE].splitlines()
    told = [line.strip() for line in lines if line.strip() and "●" not in line]
    errors = [line for line in told if re.match(r"\w{0,50}Error: ", line)]
    return (errors or told or [""])[0]


def _jest_message(text: str) -> str:
    """Return the assertion of a jest failure on one line: what was expected and what came."""
    lines = [line.strip() for line in text[:_MOST_MESSAGE].splitlines()]
    told = [line for line in lines if line.startswith(("Expected", "Received"))]
    return ": ".join([lines[0], ", ".join(told)]) if told else (lines[0] if lines else "")


def _mocha(document: Dict[str, Any], report: Report) -> None:
    pending = {_text(test.get("fullTitle")) for test in document.get("pending") or []}
    for test in document["tests"]:
        error = test.get("err") or {}
        full, title = _text(test.get("fullTitle", "")), _text(test.get("title", ""))
        outcome = SKIPPED if full in pending else FAILED if error else PASSED
        duration = test.get("duration")
        report.add(
            title,
            outcome,
            suite=full[: -len(title)].strip() if title and full.endswith(title) else "",
            file=_text(test.get("file") or ""),
            seconds=duration / 1000 if isinstance(duration, (int, float)) else None,
            message=_text(error.get("message", "")).split("\n")[0],
            text=_text(error.get("stack") or error.get("message") or ""),
        )


_GO = {"pass": PASSED, "fail": FAILED, "skip": SKIPPED}


def go_lines(text: str, report: Report) -> None:
    """Add the tests of `go test -json`, whose lines may stand between others."""
    output: Dict[Tuple[str, str], List[str]] = {}
    failed = set()
    for line in text.splitlines():
        event = _event(line)
        if event is None:
            if line.startswith("{") and len(line) > _MOST_LINE:
                report.cut("A line of the test report has more than %d characters." % _MOST_LINE)
            continue
        action = _text(event["Action"])
        package = _text(event.get("Package") or event.get("ImportPath") or "")[:1000]
        test = _text(event.get("Test", ""))[:1000]
        if action in ("output", "build-output"):
            if len(output) >= _MOST_RUNNING and (package, test) not in output:
                report.cut("More tests run at once than are read.")
                break
            said = output.setdefault((package, test), [])
            said.append(_text(event.get("Output", ""))[:_MOST_OUTPUT])
            if len(said) > _MOST_PIECES:
                said[:] = ["".join(said)[-_MOST_OUTPUT:]]
        elif action in _GO:
            outcome = _GO[action]
            body = "".join(output.pop((package, test), ()))
            if test:
                elapsed = event.get("Elapsed")
                seconds: Optional[float] = float(elapsed) if isinstance(elapsed, (int, float)) else None
                report.add(test, outcome, suite=package, seconds=seconds, message=go_message(body), text=body)
                if outcome == FAILED:
                    failed.add(package)
            elif outcome == FAILED and package not in failed:
                report.add(
                    package, ERROR, suite=package, message=go_message(body), text=body, whole_file=True
                )


def go_message(text: str) -> str:
    """Return the first line of a Go failure that says something."""
    for line in text[:_MOST_MESSAGE].splitlines():
        words = line.strip()
        if words.startswith("panic: "):
            return words.split(" [recovered]")[0]
        if words == "got:":  # an example
            return " ".join(one.strip() for one in text.splitlines() if one.strip())
        if words and words != "PASS" and not words.startswith(("=== ", "--- ", "FAIL", "# ")):
            return words.split(": ", 1)[-1] if ".go:" in words.split(" ")[0] else words
    return ""
