"""What a path is: source, test, support of tests, configuration. And which tests a change weakens."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Container, Dict, List, Optional, Sequence, Tuple

from jobs.remote.offload_runner.git.command import split, text
from jobs.remote.offload_runner.steps.assertions import count_assertions, without_blocks
from jobs.remote.offload_runner.steps.record import Job

_CODE = re.compile(
    r"\.(pyx?|pyi|[cm]?[jt]sx?|vue|svelte|go|rs|java|kts?|scala|groovy|c|h|cc|cpp|cxx|hh|hpp|cs|rb|php|swift"
    r"|mm?|exs?|erl|hs|ml|clj|sh|bash|pl|lua|sql)$",
    re.IGNORECASE,
)
_TEST = re.compile(
    r"(^|/)(tests?|__tests__|specs?|testdata|fixtures|__snapshots__|src/(test|it))/"
    r"|(^|/)(test_[^/]*|[^/]*_test|tests?|conftest)\.py$"
    r"|\.(test|spec)\.[cm]?[jt]sx?$|(^|/)test\.[cm]?[jt]s$|_test\.go$|\.snap$"
)
_CONFIGURATION = re.compile(
    r"(^|/)(setup\.py|noxfile\.py|conftest\.py|[\w.-]+\.config\.[cm]?[jt]s|\.eslintrc\.c?js|build\.rs|"
    r"[Gg]runtfile\.js|gulpfile\.js)$|(^|/)(docs?|examples?)/"
)
_DOCUMENT = re.compile(r"\.(md|rst|adoc)$|(^|/)(README|CHANGELOG|CHANGES|LICEN[CS]E|AUTHORS|NEWS)(\.txt)?$")


# What decides which tests run, and how: the configuration of test runners, and what is loaded with them.
_TEST_SETTING = re.compile(
    r"(^|/)(pytest\.ini|tox\.ini|setup\.cfg|pyproject\.toml|noxfile\.py|conftest\.py|\.coveragerc|"
    r"(site|user)customize\.py|[^/]*\.pth|package\.json|\.mocharc[^/]*|\.nycrc[^/]*|"
    r"(jest|vitest|vite|karma|playwright|cypress|ava|babel)[\w.-]*\.(config|conf|setup)\.\w+|\.babelrc[^/]*|"
    r"[Mm]akefile|GNUmakefile|[Jj]ustfile|Cargo\.toml|pom\.xml|(build|settings)\.gradle(\.kts)?|\.npmrc)$"
    r"|(^|/)\.(mvn|cargo|yarn)/"
    # Modules that stand in for the test runner's own.
    r"|(^|/)(unittest|doctest|pytest|_pytest|pluggy|nose2?|hypothesis)(\.py$|/)|(^|/)node_modules/"
)
_SCRIPT = re.compile(r"\.(sh|bash|mk|pl|bat|ps1)$")
_TEST_SCRIPT = re.compile(r"(^|/)[^/]*(test|check)[^/]*\.(sh|bash|mk|pl|bat|ps1)$", re.IGNORECASE)


_MANIFEST = re.compile(
    r"(^|/)(package(-lock)?\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|uv\.lock|poetry\.lock"
    r"|pdm\.lock|pyproject\.toml|setup\.(py|cfg)|[\w.-]*requirements[\w.-]*\.(txt|in)|requirements/[\w.-]+"
    r"|Cargo\.(toml|lock)|go\.(mod|sum)|pom\.xml|[\w.]*\.gradle(\.kts)?)$"
)


def is_manifest(path: str) -> bool:
    """Tell whether a path says what is to be installed."""
    return bool(_MANIFEST.search(path))


def is_test_setting(path: str) -> bool:
    """Tell whether a path decides which tests run, and how."""
    return bool(_TEST_SETTING.search(path) or _TEST_SCRIPT.search(path))


def is_script(path: str) -> bool:
    """Tell whether a path is a shell script or the like, which a test command may call."""
    return bool(_SCRIPT.search(path))


def is_test(path: str) -> bool:
    """Tell whether a path is a test or belongs to tests (fixtures, snapshots, helpers in a test folder)."""
    return bool(_TEST.search(path))


def may_hold_tests(path: str) -> bool:
    """Tell whether tests can be in a file: Rust's are in the source itself."""
    return is_test(path) or path.endswith(".rs")


def is_source(path: str) -> bool:
    """Tell whether a path is code of the project that tests should cover."""
    if is_test(path) or _CONFIGURATION.search(path):
        return False
    return bool(_CODE.search(path))


def is_document(path: str) -> bool:
    """Tell whether a path is a text for people, and neither a test nor data of one."""
    return not is_test(path) and bool(_DOCUMENT.search(path))


def names_of(path: str) -> List[str]:
    """Return the words by which other files refer to a file: its name, and without the extension a module."""
    name = posixpath.basename(path)
    stem = name.split(".")[0]
    if stem in ("__init__", "index"):
        stem = posixpath.basename(posixpath.dirname(path))
    words = [stem] if _CODE.search(name) else [name]
    return [word for word in words if len(word) > 1]


def grep(job: Job, sha: str, words: Sequence[str]) -> List[str]:
    """Return the files of a commit that hold one of the words."""
    if not words:
        return []
    options = [option for word in words for option in ("-e", word)]
    done = job.git.run("grep", "-l", "-z", "-I", "-w", "-F", *options, sha, "--", check=False)
    return [text(name).split(":", 1)[1] for name in split(done.stdout) if b":" in name]


# Static reading of tests: which there are, how much each asserts, which are skipped.

_DEFINITIONS: Tuple[Tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile(r"\.py$"), re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+(test\w*)", re.MULTILINE)),
    (
        re.compile(r"\.[cm]?[jt]sx?$"),
        re.compile(
            r"^[ \t]*(?:await[ \t]+)?(?:x?it|x?test|t\.test|specify)(?:\.(?!each)\w+)*(?:\.each\([^\n]*?\))?"
            r"\([ \t]*(?:\n[ \t]*)?(['\"`].{0,1000}?['\"`])[ \t]*,",
            re.MULTILINE,
        ),
    ),
    (re.compile(r"\.go$"), re.compile(r"^func[ \t]+(Test\w*|Fuzz\w*)\(", re.MULTILINE)),
    (
        re.compile(r"\.rs$"),
        re.compile(
            r"#\[(?:\w{1,50}::)?test[^\]]{0,500}\]\s{0,200}(?:#\[[^\]]{0,500}\]\s{0,200}){0,9}"
            r"(?:pub )?(?:async )?fn[ \t]+(\w+)"
        ),
    ),
    (
        re.compile(r"\.(java|kt|groovy|scala)$"),
        re.compile(
            r"@(?:Parameterized)?Test\b[^{;]{0,300}?\b(?:void|fun)[ \t]+[`\w<> ]{0,200}?(\w{1,200})`?[ \t]*\("
        ),
    ),
)
_SKIP = re.compile(
    r"@(?:pytest\.mark\.|unittest\.)(?:skip\w*|xfail|expectedFailure)|\bpytest\.(?:skip|xfail|importorskip)\("
    r"|\bself\.skipTest\(|\b(?:it|test|describe|suite)\.(?:skip|todo|failing)\b|\bx(?:it|test|describe)\("
    r"|\bskip:[ \t]*(?:true|['\"])|\bt\.Skip\w*\(|#\[ignore|@(?:Disabled|Ignore)\b"
)
_ONLY = re.compile(r"\b(?:it|test|describe|suite)\.only\(|\bf(?:it|describe)\(")
_MOST_DECORATORS = 2000  # characters
_COMMENT = re.compile(r"^[ \t]*(#(?!\[)|//|\*|/\*).*$", re.MULTILINE)


def has_tests(path: str) -> bool:
    """Tell whether the tests that a file defines can be read."""
    return any(names.search(path) for names, _ in _DEFINITIONS)


def read_tests(path: str, content: str) -> Optional[Dict[str, int]]:
    """Return the tests that a file defines, with how many assertions of each can fail; None: not readable."""
    bodies = _bodies(path, content)
    if bodies is None:
        return None
    found: Dict[str, int] = {}
    for name, body in bodies:
        found[name] = found.get(name, 0) + count_assertions(body)
    return found


def test_bodies(path: str, content: str) -> Dict[str, str]:
    """Return the text of each test that a file defines."""
    return dict(_bodies(path, content) or [])


def _bodies(path: str, content: str) -> Optional[List[Tuple[str, str]]]:
    content = _read(path, content)
    matches = _definitions(path, content)
    if matches is None:
        return None
    found: List[Tuple[str, str]] = []
    for index, match in enumerate(matches):
        end = matches[index + 1].start() if index + 1 < len(matches) else len(content)
        if path.endswith(".py"):
            # What comes after a test may be a function that is none.
            indent = len(match[0]) - len(match[0].lstrip())
            after = re.compile(r"^[ \t]{0,%d}(?:async[ \t]+)?(?:def|class)\b" % indent, re.MULTILINE)
            other = after.search(content, match.end(), end)
            end = other.start() if other else end
        found.append((_name(match), content[match.end() : end]))
    return found


def _read(path: str, content: str) -> str:
    """Return the text of a file without its comments."""
    return _COMMENT.sub("", without_blocks(content, path.endswith(".py")))


def _definitions(path: str, content: str) -> Optional[List["re.Match[str]"]]:
    """Return where a file defines tests; None when its language is not known."""
    pattern = next((define for names, define in _DEFINITIONS if names.search(path)), None)
    return None if pattern is None else list(pattern.finditer(content))


def _name(match: "re.Match[str]") -> str:
    return match[1].strip("'\"`")


def changes_inline_tests(path: str, old: str, new: str) -> bool:
    """Tell whether a change adds or alters tests in a source file, as Rust has them."""
    if is_test(path) or not read_tests(path, new):
        return False
    before, after = (text.partition("#[cfg(test)]")[2].partition("\n}\n")[0] for text in (old, new))
    return before != after


def weakened(changes: Sequence[Tuple[str, str, str]]) -> List[Dict[str, Any]]:
    """Return what a change takes from the tests.

    `changes` holds a path, its text at the base and at the head ("" where there is none). Each item of the
    answer is {"kind": "removed|assertions|skipped|only", "file", "tests": [names]}.
    """
    before: Dict[str, List[Tuple[str, int]]] = {}
    after: Dict[str, List[int]] = {}
    total_before = total_after = 0
    for path, old, new in changes:
        defined = read_tests(path, old) or {}, read_tests(path, new) or {}
        total_before, total_after = total_before + len(defined[0]), total_after + len(defined[1])
        for name, assertions in defined[0].items():
            before.setdefault(name, []).append((path, assertions))
        for name, assertions in defined[1].items():
            after.setdefault(name, []).append(assertions)
    removed: Dict[str, List[str]] = {}
    fewer: Dict[str, List[str]] = {}
    for name, places in before.items():
        left = after.get(name, [])
        for path, _ in places[len(left) :]:
            removed.setdefault(path, []).append(name)
        had, has = sum(count for _, count in places), sum(left)
        if len(left) >= len(places) and has < had:
            fewer.setdefault(places[0][0], []).append("%s (%d to %d)" % (name, had, has))
    found: List[Dict[str, Any]] = []
    if total_after < total_before:  # else as many new ones take their place: tests that were renamed
        found = [{"kind": "removed", "file": path, "tests": names} for path, names in sorted(removed.items())]
    found += [{"kind": "assertions", "file": path, "tests": names} for path, names in fewer.items()]
    for kind, pattern in (("skipped", _SKIP), ("only", _ONLY)):
        for path, old, new in changes:
            if not has_tests(path):
                continue
            counts = len(pattern.findall(_read(path, old))), len(pattern.findall(_read(path, new)))
            own = _skips_of_new_tests(path, old, new, before) if kind == "skipped" else 0
            if counts[1] - own > counts[0]:
                found.append({"kind": kind, "file": path, "tests": []})
    return found


def _skips_of_new_tests(path: str, old: str, new: str, before: Container[str]) -> int:
    """Return how many skips belong to tests that the file has more than before: those take nothing away."""
    content = _read(path, new)
    matches = _definitions(path, content) or []
    added = len(matches) - len(_definitions(path, _read(path, old)) or [])
    count = 0
    for index, match in enumerate(matches):
        if _name(match) in before:
            continue
        end = matches[index + 1].start() if index + 1 < len(matches) else len(content)
        above = content[max(0, match.start() - _MOST_DECORATORS) : match.start()]
        body = content[match.start() : end]
        count += len(_SKIP.findall(above[_decorators_at(above) :] + body[: _decorators_at(body)]))
    if not any(_name(match) in before for match in matches):
        count = len(_SKIP.findall(content))  # the whole file is new
    return max(0, min(added, count))


def _decorators_at(text: str) -> int:
    """Return where the decorators begin with which a text ends."""
    begin = len(text)
    while begin and text[begin - 1] == "\n":
        line = text.rfind("\n", 0, begin - 1) + 1
        if not text[line:begin].lstrip(" \t").startswith("@"):
            break
        begin = line
    return begin
