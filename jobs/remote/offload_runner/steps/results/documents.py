"""JSON of jest, vitest and mocha, and the JSON lines of `go test -json`."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Tuple

from jobs.remote.offload_runner.steps.results.model import ERROR, FAILED, PASSED, SKIPPED, XFAIL, Report

_JEST = {"passed": PASSED, "failed": FAILED, "pending": SKIPPED, "skipped": SKIPPED, "todo": XFAIL,
         "disabled": SKIPPED}  # fmt: skip


def parse(data: bytes, report: Report) -> None:
    """Add the tests of a JSON document, or of JSON lines, to `report`."""
    text = data.decode("utf-8", "replace").lstrip("\ufeff")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        if '"Action"' in text[:2000]:
            go_lines(text, report)
            return
        report.complete = False
        report.notes.append("A test report breaks off or is not JSON: %s." % exc)
        return
    try:
        if isinstance(document, dict) and isinstance(document.get("testResults"), list):
            _jest(document["testResults"], report)
        elif isinstance(document, dict) and isinstance(document.get("tests"), list):
            _mocha(document, report)
        elif isinstance(document, dict) and "Action" in document:
            go_lines(text, report)
        else:
            raise KeyError("testResults or tests")
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        report.complete = False
        report.notes.append("A test report has an unknown form: %s." % exc)


def _jest(files: List[Any], report: Report) -> None:
    for file in files:
        path = str(file.get("name", ""))
        tests = file.get("assertionResults") or []
        if not tests and file.get("status") == "failed":
            text = str(file.get("message", ""))
            report.add(path, ERROR, file=path, message=_first(text), text=text, whole_file=True)
        for test in tests:
            texts = [str(text) for text in test.get("failureMessages") or []]
            duration = test.get("duration")
            report.add(
                str(test.get("title", "")),
                _JEST[str(test.get("status"))],
                suite=" > ".join(str(part) for part in test.get("ancestorTitles") or []),
                file=path,
                seconds=duration / 1000 if isinstance(duration, (int, float)) else None,
                message=_jest_message(texts[0]) if texts else "",
                text="\n".join(texts),
            )


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip() and "●" not in line), "")


def _jest_message(text: str) -> str:
    """Return the assertion of a jest failure on one line: what was expected and what came."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line.startswith(("Expected", "Received"))]
    return ": ".join([lines[0], ", ".join(told)]) if told else (lines[0] if lines else "")


def _mocha(document: Dict[str, Any], report: Report) -> None:
    pending = {str(test.get("fullTitle")) for test in document.get("pending") or []}
    for test in document["tests"]:
        error = test.get("err") or {}
        full, title = str(test.get("fullTitle", "")), str(test.get("title", ""))
        outcome = SKIPPED if full in pending else FAILED if error else PASSED
        duration = test.get("duration")
        report.add(
            title,
            outcome,
            suite=full[: -len(title)].strip() if title and full.endswith(title) else "",
            file=str(test.get("file") or ""),
            seconds=duration / 1000 if isinstance(duration, (int, float)) else None,
            message=str(error.get("message", "")).split("\n")[0],
            text=str(error.get("stack") or error.get("message") or ""),
        )


_GO = {"pass": PASSED, "fail": FAILED, "skip": SKIPPED}


def go_lines(text: str, report: Report) -> None:
    """Add the tests of `go test -json`, whose lines may stand between others."""
    output: Dict[Tuple[str, str], List[str]] = {}
    failed = set()
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict):
            continue
        package, test = str(event.get("Package") or event.get("ImportPath") or ""), str(event.get("Test", ""))
        said = output.setdefault((package, test), [])
        if event.get("Action") in ("output", "build-output"):
            said.append(str(event.get("Output", "")))
        elif event.get("Action") in _GO:
            outcome = _GO[str(event["Action"])]
            body = "".join(said)
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
    for line in text.splitlines():
        words = line.strip()
        if words and not words.startswith(("=== ", "--- ", "FAIL", "# ")):
            return words.split(": ", 1)[-1] if ".go:" in words.split(" ")[0] else words
    return ""
