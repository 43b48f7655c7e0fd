"""How many assertions of a test can fail, by reading its text. Pure, and the same rules for all languages.

An assertion counts when its line can be reached, its failure is not caught, and it is not always true:
`assert x or True`, what comes after a `return`, what `if False:` guards, and what `except Exception: pass`
catches take nothing from a test only where the base had them already.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Set, Tuple

_ASSERTION = re.compile(
    r"\bassert\w*\b|\bself\.(?:assert|fail)\w*\(|\braises\(|\bexpect\w*\(|\bt\.(?:is|not|deepEqual|equal|same|ok|"
    r"true|false|throws|match|Error|Errorf|Fatal|Fatalf)\w*\(|\bshould\b|\b(?:require|verify)\.\w+\("
)
_LINE = 500  # characters of a line that are read
_TRUE = r"(?:[Tt]rue|[1-9]\d{0,9}|\"[^\"]{1,200}\"|'[^']{1,200}')"
_FALSE = r"(?:False|false|None|null|0)"
_END = r"\s*(?:,.*)?$"
_ALWAYS_TRUE = re.compile(
    # Python
    rf"^assert\s+\(?(?:{_TRUE}|not\s+{_FALSE})\)?{_END}"
    rf"|^assert\b.*\bor\s+{_TRUE}\s*\)?{_END}|^assert\s+\(?\s*{_TRUE}\s+or\b"
    rf"|^assert\s+(\S.{{0,200}}?)\s*(?:==|\bis\b|>=|<=)\s*\1{_END}"
    # unittest, JUnit, testify, chai and node's assert, Rust, tap
    rf"|\b(?:assert(?:_?(?:True|That|ok))?!?|(?:assert|t|require)\.(?:ok|isTrue|isOk|true|truthy|True|assert))"
    rf"\(\s*(?:t,\s*)?{_TRUE}\s*[,)]"
    rf"|\b(?:assert(?:_?False|IsNone|Null)|(?:assert|t|require)\.(?:isFalse|notOk|false|falsy|False|Nil))"
    rf"\(\s*(?:t,\s*)?{_FALSE}\s*[,)]"
    r"|\b(?:assert(?:_eq!|_?Equals?|Is)|(?:assert|t|require)\.(?:\w{0,20}[eE]qual|is|same))"
    r"\(\s*(?:t,\s*)?([^,()]{1,200}?)\s*,\s*\2\s*[,)]"
    rf"|\bassert\w*!?(?:\.\w+)?\(.*(?:\|\||\bor)\s*{_TRUE}\s*[,)]"
    # jest, vitest, chai
    rf"|\bexpect\(\s*{_TRUE}\s*\)\.(?:toBeTruthy|toBeDefined|to\.be\.(?:true|ok)\b)"
    r"|\bexpect\(\s*([^()]{1,200}?)\s*\)\.(?:to(?:Be|Equal|StrictEqual)|to\.(?:be|equal|eql|deep\.equal))"
    r"\(\s*\3\s*\)"
    rf"|\bexpect\(.*\|\|\s*true\s*\)|^expect\((?:(?!\)\.).)*\);$"
)
# The last line of an assertion of several lines.
_OR_TRUE = re.compile(rf"^(?:or|\|\|)\s+{_TRUE}\s*\)?[,;)]*$")
_RETURN = re.compile(r"^return(?:\s+(?:None|undefined|null|nil|[Tt]rue|Ok\(\(\)\)))?;?$")
_NEVER = re.compile(
    r"^(?:if|while)\b\s*\(?(?:.*(?:&&|\band))?\s*(?:False|false|0|None|not True|!true)\s*\)?\s*[:{]$"
    r"|^(?:async\s+)?with\b.*\bsuppress\([^)]*\b(?:AssertionError|(?:Base)?Exception)\b.*:$"
)
_TRY = re.compile(r"^try\s*[:{]$")
_CATCH = re.compile(
    r"^except(?:\s+\(?(?:.*\b)?(?:AssertionError|(?:Base)?Exception)\b.*)?:(?P<python>.*)$"
    r"|^\}\s*catch\b[^{]*\{(?P<rest>.*)$"
)
# In a handler: the failure goes on from there, or is looked at.
_GOES_ON = re.compile(
    r"\b(?:raise|throw|reject|done|exit|abort|panic)\b|[Aa]ssert|expect|\w*[Ff]ail|\bt\.\w+\("
)
_SHORT_CATCH = re.compile(r"\btry\s*\{[^{}\n]{0,400}\}\s*catch\s*(?:\([^()\n]{0,100}\))?\s*\{\s*\}")
_REMARK = re.compile(r"[ \t](?:#|//)[ \t][^'\"`\n]*$")
_QUOTES = re.compile("\"\"\"|'''")


def without_blocks(text: str, python: bool) -> str:
    """Return a text without what comments and strings at the begin of a line take out of use.

    Such a block leaves one empty line. `python` says whether strings of three quotes are meant, or `/* */`.
    """
    kept: List[str] = []
    at = 0
    for begin, end in _strings(text) if python else _comments(text):
        line = text.rfind("\n", 0, begin) + 1
        if not text[line:begin].strip(" \t"):
            kept.append(text[at:line])
            at = end
    return "".join([*kept, text[at:]])


def _strings(text: str) -> List[Tuple[int, int]]:
    found: List[Tuple[int, int]] = []
    opened: Optional["re.Match[str]"] = None
    for quotes in _QUOTES.finditer(text):
        if opened is None:
            opened = quotes
        elif quotes[0] == opened[0]:
            found.append((opened.start(), quotes.end()))
            opened = None
    return found


def _comments(text: str) -> List[Tuple[int, int]]:
    found: List[Tuple[int, int]] = []
    begin = text.find("/*")
    while begin >= 0:
        if text[text.rfind("\n", 0, begin) + 1 : begin].strip(" \t"):
            begin = text.find("/*", begin + 2)  # in a string, such as a pattern of paths
            continue
        end = text.find("*/", begin + 2)
        if end < 0:
            break
        found.append((begin, end + 2))
        begin = text.find("/*", end + 2)
    return found


def count_assertions(body: str) -> int:
    """Return the number of assertions of a test that can fail; a repeated line counts once."""
    count, before = 0, ""
    for line in _reached(_SHORT_CATCH.sub("", body)):
        stripped = " ".join(_REMARK.sub("", line[:_LINE]).split())
        if stripped != before or stripped[-1:] != ";":
            if _OR_TRUE.match(stripped):
                count = max(0, count - 1)
            elif not _ALWAYS_TRUE.search(stripped):
                count += len(_ASSERTION.findall(stripped))
        before = stripped
    return count


def _reached(body: str) -> List[str]:
    """Return the lines that can be reached and whose failure is not caught, told by their indentation."""
    lines = body.splitlines()
    depths = [len(line) - len(line.lstrip()) if line.strip() else -1 for line in lines]
    dropped: Set[int] = set()
    tries: Dict[int, int] = {}  # the last `try` of each depth
    hidden: Optional[int] = None  # lines that are deeper do not run
    ended: Optional[int] = None  # neither do lines that are this deep, until one is less so
    for index, line in enumerate(lines):
        depth, stripped = depths[index], line.strip()[:_LINE]
        if depth < 0:
            continue
        if (hidden is not None and depth > hidden) or (ended is not None and depth >= ended):
            dropped.add(index)
            continue
        hidden = ended = None
        if _NEVER.match(stripped):
            hidden = depth
        elif _RETURN.match(stripped):
            ended = depth
        elif _TRY.match(stripped):
            tries[depth] = index
        elif depth in tries:
            caught = _CATCH.match(stripped)
            if caught:
                begin = tries.pop(depth)
                rest = caught["python"] or caught["rest"] or ""
                if not _goes_on(lines, depths, index, rest):
                    dropped.update(range(begin + 1, index))
    return [line for index, line in enumerate(lines) if index not in dropped]


def _goes_on(lines: List[str], depths: List[int], handler: int, rest: str) -> bool:
    """Tell whether a handler lets the test fail all the same, or asserts something of the failure."""
    if _GOES_ON.search(rest):
        return True
    for index in range(handler + 1, len(lines)):
        if 0 <= depths[index] <= depths[handler]:
            return False
        if _GOES_ON.search(lines[index][:_LINE]):
            return True
    return False


__all__ = ["count_assertions", "without_blocks"]
