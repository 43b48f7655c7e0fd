"""Results read from what a test runner prints: TAP, libtest, unittest, mocha, Go."""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Optional, Tuple

from jobs.remote.offload_runner.steps.results.documents import go_lines, go_message
from jobs.remote.offload_runner.steps.results.model import (
    ERROR,
    FAILED,
    PASSED,
    SKIPPED,
    XFAIL,
    Report,
    plain,
)

_LIBTEST = re.compile(
    r"^test (?P<name>\S.*?)(?: - should panic)? \.\.\. (?P<result>ok|FAILED|ignored)\b", re.MULTILINE
)
_TARGET = re.compile(
    r"^ {1,20}(?:Running (?:unittests )?(?P<path>\S+)(?: \((?:\S*/)?(?P<crate>[\w-]+)-[0-9a-f]{16}\))?"
    r"|Doc-tests (?P<doc>\S+))",
    re.MULTILINE,
)
_UNITTEST = re.compile(
    r"^(?P<name>\w+) \((?P<suite>[\w.]+)\)(?:\n[^\n]*?)?? \.\.\.(?: (?P<rest>[^\n]*))?$", re.MULTILINE
)
_SET_UP = ("setUpClass", "setUpModule")
_UNITTEST_END = re.compile(r"^Ran \d+ tests? in ", re.MULTILINE)
_UNITTEST_BLOCK = re.compile(
    r"^={70}\n(?P<kind>ERROR|FAIL): (?P<name>\w+) \((?P<suite>[\w.]+)\)[^\n]*\n(?P<rest>.*?)"
    r"(?=^={70}$|^Ran \d)",
    re.MULTILINE | re.DOTALL,
)
_TAP = re.compile(r"^(?P<indent> *)(?P<no>not )?ok\b(?: +(?P<number>\d+))?(?: *-)? *(?P<name>.*)$")
_TAP_START = re.compile(r"^(TAP version \d+|1\.\.\d+)\s*$", re.MULTILINE)
_GO = re.compile(
    r"^(?P<indent> *)--- (?P<result>PASS|FAIL|SKIP): (?P<name>\S+) \((?P<seconds>\d{1,9}(?:\.\d{1,9})?)s\)$"
)
_GO_NOW = re.compile(r"^=== (?:RUN|CONT|NAME|PAUSE) +(?P<name>\S+)$")
_GO_PACKAGE = re.compile(r"^(?P<result>ok|FAIL|---|\?)\s+(?P<package>[\w./-]+)\s+(?P<rest>\S.*)$")
_MOCHA_END = re.compile(r"^ {2}\d+ passing \(", re.MULTILINE)
_MOST_LINE = 20_000  # characters
_MOST_LINES = 600_000
_MOST_NAME = 400
_MOCHA_PASS = re.compile(r"^(?P<indent> +)(?:✔|✓|√) (?P<name>.*?)(?: \((?P<ms>\d{1,9})ms\))?$")
_MOCHA_FAIL = re.compile(r"^(?P<indent> +)(?P<number>\d+)\) (?P<name>.*)$")
_MOCHA_HOOK = re.compile(r'"(?:before|after) (?:each|all)" hook')
_MOCHA_SKIP = re.compile(r"^(?P<indent> +)- (?P<name>.*)$")
_MOCHA_SUITE = re.compile(r"^(?P<indent> {2,})(?P<name>\S.*)$")


def parse(text: str, report: Report) -> str:
    """Add the tests that a log names; return the name of its format, "" when it has none that is known."""
    found = text.splitlines()
    text = "\n".join(plain(line[:_MOST_LINE]) for line in found[:_MOST_LINES]) + "\n"
    for name, is_one, read in _FORMATS:
        if is_one(text):
            read(text, report)
            if len(found) > _MOST_LINES:
                report.cut("Only the first %d lines of the tests' output were read." % _MOST_LINES)
            return name
    return ""


def _libtest(text: str, report: Report) -> None:
    said = {
        match["name"]: match["body"]
        for match in re.finditer(
            r"^---- (?P<name>[^\n]+?) stdout ----\n(?P<body>.*?)(?=^---- |^failures:$|^test result: )",
            text,
            re.MULTILINE | re.DOTALL,
        )
    }
    target = crate = ""
    crates = _crates(text)
    for line in text.splitlines():
        heading = _TARGET.match(line)
        if heading:
            target = heading["path"] or "doc-tests %s" % heading["doc"]
            # Packages of a workspace have equal paths.
            crate = heading["crate"] if len(crates.get(target, ())) > 1 else ""
        match = _LIBTEST.match(line)
        if match:
            outcome = {"ok": PASSED, "FAILED": FAILED, "ignored": SKIPPED}[match["result"]]
            body = said.get(match["name"], "") if outcome == FAILED else ""
            body = body.split("stack backtrace:")[0]
            report.add(
                match["name"], outcome, file=target if target.endswith(".rs") else "",
                suite=crate if target.endswith(".rs") else target, message=_panic(body), text=body,
            )  # fmt: skip
    report.complete = report.complete and not re.search(r"^error: could not compile", text, re.MULTILINE)
    crash = re.search(r"^ *process didn't exit successfully: .* \((signal: [^\n)]*)\)$", text, re.MULTILINE)
    if crash:
        report.cut("A test process was ended by %s." % crash[1])


def _crates(text: str) -> Dict[str, List[str]]:
    """Return the crates that have a test target of each path."""
    found: Dict[str, List[str]] = {}
    for match in _TARGET.finditer(text):
        known = found.setdefault(match["path"] or "", [])
        if match["crate"] and match["crate"] not in known:
            known.append(match["crate"])
    return found


def _panic(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if "panicked at" in line:
            after = [one for one in lines[index + 1 : index + 4] if not one.startswith("note:")]
            return ", ".join(after) if after else line
    return lines[0].replace("note: ", "", 1) if lines else ""


def _unittest(text: str, report: Report) -> None:
    blocks: Dict[Tuple[str, str], str] = {}
    for match in _UNITTEST_BLOCK.finditer(text):
        blocks.setdefault((match["name"], _class(match["name"], match["suite"])), match["rest"])
    seen = set()
    for match in _UNITTEST.finditer(text):
        rest = match["rest"] or ""
        name, suite = match["name"], _class(match["name"], match["suite"])
        if (name, suite) in seen:
            continue  # a subtest, whose line follows its test's
        seen.add((name, suite))
        block = blocks.get((name, suite), "")
        outcome = _unittest_outcome(rest)
        if block:
            outcome = ERROR if outcome == ERROR else FAILED
        whole = suite == "unittest.loader._FailedTest"
        report.add(
            "%s of %s" % (name, suite) if name in _SET_UP else name, ERROR if whole else outcome,
            suite="" if whole else suite, text=block, message=_exception(block),
            whole_file=whole or name in _SET_UP,
        )  # fmt: skip
    for (name, suite), block in blocks.items():
        if (name, suite) not in seen:
            whole = name in _SET_UP
            shown = "%s of %s" % (name, suite) if whole else name
            report.add(shown, ERROR, suite=suite, text=block, message=_exception(block), whole_file=whole)
    report.complete = report.complete and bool(_UNITTEST_END.search(text))


def _class(name: str, suite: str) -> str:
    # Python 3.11 says "(mod.Class.test)", earlier ones "(mod.Class)".
    return suite[: -len(name) - 1] if suite.endswith("." + name) else suite


def _unittest_outcome(rest: str) -> str:
    if "unexpected success" in rest:
        return FAILED
    for word, outcome in (
        ("expected failure", XFAIL), ("skipped", SKIPPED), ("ERROR", ERROR), ("FAIL", FAILED), ("ok", PASSED),
    ):  # fmt: skip
        if word in rest:
            return outcome
    # What the test printed stands between its name and its result.
    return PASSED


def _exception(text: str) -> str:
    """Return the last line of a Python traceback that names the exception."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("-", "="))]
    named = [
        line for line in lines if re.match(r"[\w.]+(Error|Exception|Warning|Exit|Interrupt)?(: |$)", line)
    ]
    return named[-1] if named else ""


def _tap(text: str, report: Report) -> None:
    context, planned, top = "", None, 0
    lines = text.splitlines()
    for index, line in enumerate(lines):
        plan = re.match(r"^1\.\.(\d{1,9})(?!\d)", line)
        if plan:
            planned = int(plan[1])
        if line.startswith("Bail out!"):
            report.complete = False
        comment = re.match(r"^\s*# (?:Subtest: )?(?P<name>\S.*)$", line)
        if comment and not re.match(r"(tests|pass|fail|skip|ok|todo|time)\b", comment["name"]):
            context = comment["name"]
        match = _TAP.match(line)
        if not match:
            continue
        if report.is_full:
            report.add("", FAILED if match["no"] else PASSED)  # says so
            return
        top += not match["indent"]
        name, _, directive = match["name"].partition(" # ")
        nested = any(re.match(r"\s{4}1\.\.\d", one) for one in lines[max(0, index - 3) : index])
        word = directive.strip().upper()
        outcome = FAILED if match["no"] else PASSED
        if word.startswith("SKIP"):
            outcome = SKIPPED
        elif word.startswith("TODO"):
            outcome = XFAIL if match["no"] else PASSED
        body = _yaml_block(lines, index + 1) if outcome == FAILED else []
        own = context if context and context != name and not nested else ""
        report.add(
            name or "test %s" % match["number"], outcome, suite=own, text="\n".join(body),
            message=_tap_message(name, body) if outcome == FAILED else "",
        )  # fmt: skip
    if planned is not None and top < planned:
        report.complete = False
        report.note("TAP: %d tests were planned and %d ran." % (planned, top))


def _yaml_block(lines: List[str], start: int) -> List[str]:
    if start >= len(lines) or lines[start].strip() != "---":
        return []
    found: List[str] = []
    for line in lines[start + 1 : start + 80]:
        if line.strip() == "...":
            break
        found.append(line)
    return found


def _tap_message(name: str, body: List[str]) -> str:
    known: Dict[str, str] = {}
    block, outer = "", 0
    for line in body:
        depth = len(line) - len(line.lstrip())
        if block and (depth > outer or not line.strip()):
            known[block] = " ".join((known[block], line.strip())).strip()
            continue
        key, colon, value = line.strip().partition(":")
        block = ""
        if colon and value.strip() in ("|", "|-", ">", ">-"):
            block, outer, value = key, depth, ""  # the value is the lines below, further in
        if colon:
            known[key] = value.strip()
    if known.get("expected") and known.get("actual"):
        return "%s: expected %s, actual %s" % (name, known["expected"], known["actual"])
    return known.get("error") or known.get("message") or name


def _mocha(text: str, report: Report) -> None:
    lines = text.splitlines()
    end = next(index for index, line in enumerate(lines) if _MOCHA_END.match(line))
    details = _mocha_details(lines[end:])
    path: List[Tuple[int, str]] = []
    for line in lines[:end]:
        kinds = ((_MOCHA_PASS, PASSED), (_MOCHA_FAIL, FAILED), (_MOCHA_SKIP, SKIPPED))
        match, outcome = next(((m, kind) for p, kind in kinds if (m := p.match(line))), (None, ""))
        if match is None:
            suite_line = _MOCHA_SUITE.match(line)
            if suite_line:
                depth = len(suite_line["indent"])
                path = [*(one for one in path if one[0] < depth), (depth, suite_line["name"])]
            continue
        depth = len(match["indent"])
        suite = " > ".join(name for level, name in path if level < depth)
        body = details.get(match["number"], "") if outcome == FAILED else ""
        took = match.groupdict().get("ms")
        seconds: Optional[float] = int(took) / 1000 if took else None
        report.add(
            match["name"].strip(), outcome, suite=suite, seconds=seconds, text=body,
            message=_mocha_message(body), whole_file=bool(_MOCHA_HOOK.match(match["name"])),
        )  # fmt: skip
    counted = sum(case.outcome == PASSED for case in report.cases)
    told = re.match(r"^ {2}0*(\d+) passing", lines[end])
    if told and told[1] != str(counted):
        # Another reporter than `spec`: failing tests are named, passing ones are not.
        report.named = False
        if not any(case.outcome == FAILED for case in report.cases):
            for number, body in details.items():
                heading = re.match(
                    r" *\d+\) (?P<names>[^:]{1,400}(?:\n[^:]{1,400})*):", body[: _MOST_NAME * 4]
                )
                names = heading["names"].splitlines() if heading else ["failure %s" % number]
                parts = [name.strip() for name in names]
                report.add(
                    parts[-1], FAILED, suite=" > ".join(parts[:-1]), text=body,
                    message=_mocha_message(body), whole_file=bool(_MOCHA_HOOK.match(parts[-1])),
                )  # fmt: skip


def _mocha_details(lines: List[str]) -> Dict[str, str]:
    found: Dict[str, List[str]] = {}
    number = ""
    for line in lines:
        match = re.match(r"^ {2}(\d+)\) ", line)
        number = match[1] if match else number
        if number:
            found.setdefault(number, []).append(line)
    return {number: "\n".join(body) for number, body in found.items()}


def _mocha_message(body: str) -> str:
    for line in body.splitlines():
        words = line.strip()
        if re.match(r"(\w*(Error|Exception)\b|expected |Timeout )", words):
            return words
    return ""


def _go(text: str, report: Report) -> None:
    told: Dict[str, List[str]] = {}  # what each test of a package said, and under "" the package itself
    ended: List[Tuple[str, str, float]] = []
    broken: Dict[str, List[str]] = {}
    section = current = ""
    for line in text.splitlines():
        build = re.match(r"^# (\S+)", line)
        if build:
            section = build[1]
        elif section and re.match(r"^\S+\.go:\d+", line):
            broken.setdefault(section, []).append(line)
        started = _GO_NOW.match(line)
        match = _GO.match(line)
        package = _GO_PACKAGE.match(line)
        if started:
            current = started["name"]
        elif match:
            current = match["name"]
            ended.append((current, match["result"], float(match["seconds"])))
        elif package:
            _go_package(package, ended, told, broken, report)
            if package["result"] == "ok" and not ended and "no tests" not in package["rest"]:
                report.named = False
            told, ended, current = {}, [], ""
        else:
            told.setdefault(current, []).append(line)
    _go_tests("", ended, told, report)


def _go_package(
    package: "re.Match[str]",
    ended: List[Tuple[str, str, float]],
    told: Dict[str, List[str]],
    broken: Dict[str, List[str]],
    report: Report,
) -> None:
    """Add the tests of a package that ended; its tests after a panic did not run."""
    name = package["package"][:_MOST_NAME]
    panics = [line for lines in told.values() for line in lines if line.startswith("panic: ")]
    crashed = any(line.startswith("goroutine ") for lines in told.values() for line in lines)
    if panics and crashed and package["result"] == "FAIL":
        report.cut("%s ended with a %s" % (name, panics[0].split(" [recovered]")[0]))
    _go_tests(name, ended, told, report)
    if package["result"] != "FAIL" or any(result == "FAIL" for _, result, _ in ended):
        return
    lines = broken.pop(name, []) or [line for said in told.values() for line in said]
    body = "\n".join(lines)
    report.add(
        name, ERROR, suite=name, text=body, whole_file=True, message=go_message(body) or package["rest"]
    )


def _go_tests(
    package: str, ended: List[Tuple[str, str, float]], told: Dict[str, List[str]], report: Report
) -> None:
    """Add tests, the subtests of a test before it: they say what fails."""
    for name, result, seconds in sorted(ended, key=lambda one: "/" not in one[0]):
        outcome = {"PASS": PASSED, "FAIL": FAILED, "SKIP": SKIPPED}[result]
        body = "\n".join(told.pop(name, []))
        report.add(name, outcome, suite=package, seconds=seconds, text=body, message=go_message(body))


_FORMATS: Tuple[Tuple[str, Callable[[str], object], Callable[[str, Report], None]], ...] = (
    ("go test -json", lambda text: '{"Time":' in text and '"Action":' in text, go_lines),
    (
        "cargo test",
        lambda text: re.search(r"^test result: |^running \d+ tests?$", text, re.MULTILINE),
        _libtest,
    ),
    (
        "go test",
        lambda text: re.search(
            r"^(ok|FAIL)\s+\S+\s+(\d+\.\d+s|\(cached\)|\[\w+ failed\])", text, re.MULTILINE
        ),
        _go,
    ),
    (
        "unittest",
        lambda text: _UNITTEST.search(text) and re.search(r"^-{70}$", text, re.MULTILINE),
        _unittest,
    ),
    ("mocha", _MOCHA_END.search, _mocha),
    (
        "TAP",
        lambda text: _TAP_START.search(text) and any(map(_TAP.match, text.splitlines())),
        _tap,
    ),
)
