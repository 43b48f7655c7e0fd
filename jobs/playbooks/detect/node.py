"""Node: npm, pnpm and yarn, by lock file or `packageManager`."""

from __future__ import annotations

import json
import re
from typing import Any

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import Step, Toolchain, has

_PLACEHOLDER = "no test specified"
_TEST_PATH = re.compile(
    r"(^|/)(__tests__|tests?|spec)/.*\.[cm]?[jt]sx?$|\.(test|spec)\.[cm]?[jt]sx?$|(^|/)test\.[cm]?js$"
)
_FIXTURE = re.compile(r"(^|/)(fixtures?|helpers?|support)/")
# Runners that take the paths of single files as further arguments.
_BY_FILE = ("jest", "vitest", "mocha", "ava", "tape", "tap", "node --test", "uvu", "lab")
_WITH_VALUE = frozenset(
    {"-r", "--require", "--import", "--loader", "-R", "--reporter", "--test-reporter", "-t", "--timeout",
     "-u", "--ui", "-c", "--config", "--project", "-e", "--env", "--opts", "--extension"}
)  # fmt: skip
_EXTRA = (
    re.compile(r"^(lint|eslint|prettier:check|format:check)$"),
    re.compile(r"^(types?|typecheck|type-check|tsc|check-types)$"),
)


def _manager(facts: RepositoryFacts, package: dict[str, Any]) -> str:
    named = str(package.get("packageManager", "")).partition("@")[0]
    if named in ("npm", "pnpm", "yarn"):
        return named
    if has(facts, "pnpm-lock.yaml"):
        return "pnpm"
    if has(facts, "yarn.lock"):
        return "yarn"
    return "npm"


def _call(facts: RepositoryFacts, package: dict[str, Any], manager: str) -> tuple[str, str]:
    """Return how the manager is called, and the program to look for: npm can fetch the other two."""
    if manager == "npm" or manager in facts.tools or "npm" not in facts.tools:
        return manager, manager
    named, _, version = str(package.get("packageManager", "")).partition("@")
    version = version.partition("+")[0] if named == manager else ""
    return f"npx --yes {manager}@{version}" if version else f"npx --yes {manager}", "npm"


def _install(facts: RepositoryFacts, manager: str, call: str) -> str:
    if manager == "pnpm":
        return f"{call} install --frozen-lockfile" if has(facts, "pnpm-lock.yaml") else f"{call} install"
    if manager == "yarn":
        # Yarn 1 says --frozen-lockfile, later ones --immutable.
        berry = has(facts, ".yarnrc.yml")
        if not has(facts, "yarn.lock"):
            return f"{call} install"
        return (
            f"{call} install --immutable" if berry else f"{call} install --frozen-lockfile --non-interactive"
        )
    if has(facts, "package-lock.json", "npm-shrinkwrap.json"):
        return "npm ci --no-audit --no-fund"
    return "npm install --no-audit --no-fund --no-package-lock"


def _by_file(script: str) -> str:
    """Return the command that runs single test files, made from the test script, or an empty text."""
    for part in re.split(r"&&|\|\||;", script):
        words = part.split()
        while words and re.fullmatch(r"[A-Z_]+=\S*|cross-env|npx|c8|nyc", words[0]):
            words.pop(0)
        command = " ".join(words)
        for runner in _BY_FILE:
            if command == runner or command.startswith(runner + " "):
                options = _options(words[len(runner.split()) :])
                program = runner if runner == "node --test" else "./node_modules/.bin/" + runner
                # Without `run`, vitest waits for changes.
                once = ["run"] if runner == "vitest" else []
                return " ".join([program, *once, *options, '"$1"'])
        if len(words) >= 2 and words[0] == "node" and words[1].endswith((".js", ".mjs", ".cjs")):
            return 'node "$1"'
    return ""


def _options(words: list[str]) -> list[str]:
    """Return the options of a runner's command line, with their values, without its files and patterns."""
    kept: list[str] = []
    for index, word in enumerate(words):
        is_value = index > 0 and words[index - 1] in _WITH_VALUE
        if is_value or (word.startswith("-") and word not in ("--", "--watch", "-w")):
            kept.append(word)
    return kept


def detect(facts: RepositoryFacts) -> Toolchain | None:
    """Read package.json and the lock files."""
    if "package.json" not in facts.files:
        return None
    try:
        package = json.loads(facts.files["package.json"])
    except ValueError:
        package = {}
    package = package if isinstance(package, dict) else {}
    scripts = package.get("scripts")
    scripts = {str(k): str(v) for k, v in scripts.items()} if isinstance(scripts, dict) else {}
    manager = _manager(facts, package)
    call, program = _call(facts, package, manager)
    run = f"{call} run"
    dependencies = any(package.get(key) for key in ("dependencies", "devDependencies", "workspaces"))
    steps: list[Step] = []
    if dependencies:
        steps.append(Step("install", f"{manager} install", _install(facts, manager, call), program))
    if "build" in scripts:
        steps.append(Step("build", f"{manager} build", f"{run} build", program))
    test_script = scripts.get("test", "")
    has_tests = bool(test_script) and _PLACEHOLDER not in test_script
    # `npm test` of many packages runs the linter first; `tests-only` is then the tests alone.
    alone = next(
        (
            name
            for name in ("tests-only", "test:unit")
            if name in scripts and "lint" in test_script + scripts.get("pretest", "")
        ),
        "",
    )
    if has_tests or alone:
        steps.append(
            Step(
                "test",
                f"{manager} {alone or 'test'}",
                f"{run} {alone}" if alone else f"{call} test",
                program,
            )
        )
    for pattern, role in ((_EXTRA[0], "lint"), (_EXTRA[1], "types")):
        name = next((name for name in scripts if pattern.match(name)), "")
        if name:
            steps.append(Step(role, f"{manager} {name}", f"{run} {name}", program))
    if not steps:
        return None
    return Toolchain(
        "node",
        tuple(steps),
        test_file=_by_file(scripts.get(alone) or test_script),
        is_test=lambda path: bool(_TEST_PATH.search(path)) and not _FIXTURE.search(path),
    )
