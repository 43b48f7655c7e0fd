"""Node: npm, pnpm, yarn and bun, by lock file or `packageManager`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import Step, Toolchain, has

_PLACEHOLDER = "no test specified"
_TEST_PATH = (
    r"^(?!(?:.*/)?(?:fixtures?|helpers?|support|utils?)/)(?!(?:.*/)?(?:utils?|helpers?|setup)\.[cm]?[jt]sx?$)"
    r"(?:.*/)?(?:(?:__tests__|tests?|spec)/.*\.[cm]?[jt]sx?|[^/]*\.(?:test|spec)\.[cm]?[jt]sx?|test\.[cm]?js)$"
)
_MANAGERS = ("npm", "pnpm", "yarn", "bun")
_PATH = 'PATH="$PWD/node_modules/.bin:$PATH"'
_TOKEN = re.compile(r"(?:[^\s'\"]|'[^']*'|\"(?:[^\"\\]|\\.)*\")+")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
# Programs that run another one, with the options of theirs that have a separate value.
_WRAPPERS = {
    "cross-env": (), "cross-env-shell": (), "env": (), "npx": (), "c8": ("-r", "--reporter", "-x", "-n"),
    "nyc": ("-r", "--reporter", "-x", "-n"), "dotenv": ("-e", "-v", "-c"), "env-cmd": ("-f", "-e"),
    "dotenvx": ("-f",), "run": (),
}  # fmt: skip
_COVERAGE = ("c8", "nyc", "npx")
# Runners that take the paths of single files as further arguments.
_RUNNERS = ("jest", "vitest", "mocha", "ava", "tape", "tap", "uvu", "lab", "node", "tsx", "bun")
_WITH_VALUE = frozenset(
    """
    -r --require --import --loader --experimental-loader -R --reporter --test-reporter --test-reporter-
    destination -t --timeout -u --ui -c --config --project -e --env --opts --extension --spec --file
    --ignore --reporter-option -O --reporter-options --retries --slow -s -j --jobs --maxWorkers -w
    --workers --pool --environment --root --rootDir --dir --setupFiles --testEnvironment --package
    --coverageReporters --coverageDirectory --collectCoverageFrom --test-concurrency --test-timeout
    --conditions -C
    """.split()  # noqa: SIM905 - a list of one word a line would be a page long
)
# Options that choose tests or judge the whole suite; a single file runs without them.
_SELECTING = frozenset(
    """
    -g --grep -f --fgrep --testNamePattern --testPathPattern --testPathPatterns --spec --shard
    --coverageThreshold --changedSince --test-name-pattern --match -m --selectProjects --testRegex
    --testMatch --check-coverage
    """.split()  # noqa: SIM905 - a list of one word a line would be a page long
)
_DROPPED = frozenset(
    """
    -- --watch --watchAll -i --invert --coverage --bail -b --forbid-only --onlyChanged -o
    --passWithNoTests --ci --silent --quiet --parallel -p --experimental-test-coverage
    """.split()  # noqa: SIM905 - a list of one word a line would be a page long
)
_EXTRA = (
    re.compile(r"^(lint|eslint|prettier:check|format:check)$"),
    re.compile(r"^(types?|typecheck|type-check|tsc|check-types)$"),
)
_RUN = re.compile(
    r"^(?:npm|pnpm|yarn|bun)(?: run(?:-script)?)?(?: -s| --silent| --if-present)* (?P<name>[\w:.@/-]+)"
    r"(?: -- (?P<npm>.*)| (?P<rest>.*))?$"
)
_NO_SCRIPTS = (
    "install",
    "ci",
    "exec",
    "audit",
    "pack",
    "publish",
    "link",
    "workspaces",
    "workspace",
    "dlx",
    "x",
)
_LINTERS = re.compile(r"\b(eslint|xo|standard|prettier|biome|oxlint|tslint|lint|lint-staged)\b")


@dataclass(frozen=True)
class _Package:
    """What package.json and the lock files say."""

    facts: RepositoryFacts
    data: dict[str, Any]

    @property
    def scripts(self) -> dict[str, str]:
        scripts = self.data.get("scripts")
        return {str(k): str(v) for k, v in scripts.items()} if isinstance(scripts, dict) else {}

    @property
    def manager(self) -> str:
        named = str(self.data.get("packageManager", "")).partition("@")[0]
        if named in _MANAGERS:
            return named
        for name, locks in (("pnpm", ("pnpm-lock.yaml", "pnpm-workspace.yaml")), ("yarn", ("yarn.lock",)),
                            ("bun", ("bun.lock", "bun.lockb"))):  # fmt: skip
            if has(self.facts, *locks):
                return name
        return "npm"

    @property
    def version(self) -> str:
        named, _, version = str(self.data.get("packageManager", "")).partition("@")
        return version.partition("+")[0] if named == self.manager else ""

    @property
    def is_berry(self) -> bool:
        """Tell whether the repository uses yarn 2 or later."""
        major = self.version.partition(".")[0]
        return self.manager == "yarn" and (
            int(major) > 1 if major.isdigit() else has(self.facts, ".yarnrc.yml")
        )

    @property
    def call(self) -> tuple[str, str]:
        """Return how the manager is called, and the program that must be there: npm can fetch the others."""
        manager, tools = self.manager, self.facts.tools
        if manager == "npm" or "npm" not in tools:
            return manager, manager
        if self.is_berry:
            # The package `yarn` on npm ends at 1; later versions are this one.
            if "corepack" in tools and self.version:
                return "corepack yarn", "corepack"
            version = self.version or "4"
            return f"npx --yes --package=@yarnpkg/cli-dist@{version} yarn", "npm"
        if manager in tools:
            return manager, manager
        return f"npx --yes {manager}@{self.version}" if self.version else f"npx --yes {manager}", "npm"

    def install(self) -> str:
        call = self.call[0]
        if self.manager == "pnpm":
            return (
                f"{call} install --frozen-lockfile"
                if has(self.facts, "pnpm-lock.yaml")
                else f"{call} install"
            )
        if self.manager == "bun":
            frozen = " --frozen-lockfile" if has(self.facts, "bun.lock", "bun.lockb") else ""
            return f"{call} install{frozen}"
        if self.manager == "yarn":
            if not has(self.facts, "yarn.lock"):
                return f"{call} install"
            # Yarn 1 says --frozen-lockfile, later ones --immutable.
            return f"{call} install " + (
                "--immutable" if self.is_berry else "--frozen-lockfile --non-interactive"
            )
        if has(self.facts, "package-lock.json", "npm-shrinkwrap.json"):
            # `npm ci` would remove an environment that was laid in (see the runner's `environments`).
            return (
                "if rm node_modules/.offload-kept 2>/dev/null; "
                "then npm install --no-save --prefer-offline --no-audit --no-fund; "
                "else npm ci --no-audit --no-fund; fi"
            )
        return "npm install --no-audit --no-fund --no-package-lock"

    def resolved(self, script: str, depth: int = 6) -> str:
        """Return a script with the scripts that it calls put in, in parentheses."""
        parts = re.split(r"(\s*(?:&&|\|\||;)\s*)", script)
        for index in range(0, len(parts), 2):
            found = self.called(parts[index].strip())
            if found is not None and depth:
                name, rest = found
                inner = " && ".join(
                    self.scripts[one] for one in (f"pre{name}", name, f"post{name}") if one in self.scripts
                )
                parts[index] = f"( {self.resolved(inner, depth - 1)}{' ' + rest if rest else ''} )"
        return "".join(parts)

    def called(self, command: str) -> tuple[str, str] | None:
        """Return the script that a command runs, and the arguments that it adds; None for other commands."""
        match = _RUN.match(command)
        if match is None or match["name"] in _NO_SCRIPTS or match["name"] not in self.scripts:
            return None
        return match["name"], match["npm"] or match["rest"] or ""

    def simple_commands(self, script: str, depth: int = 6) -> list[str]:
        """Return the commands of a script, those of called scripts included."""
        found = []
        for part in re.split(r"&&|\|\||;", script):
            called = self.called(_without_coverage(part.strip()))
            if called is not None and depth:
                name, rest = called
                inner = self.simple_commands(self.scripts[name], depth - 1)
                found += [*inner[:-1], f"{inner[-1]} {rest}".strip()] if inner else []
            elif part.strip():
                found.append(part.strip())
        return found


def _without_coverage(command: str) -> str:
    """Return what a coverage tool in front of a command runs, as in `nyc npm run unit`."""
    words = _TOKEN.findall(command)
    if not words or words[0] not in ("c8", "nyc"):
        return command
    tool = words.pop(0)
    while words and words[0].startswith("-"):
        del words[: 2 if words[0] in _WRAPPERS[tool] else 1]
    return " ".join(words)


@dataclass(frozen=True)
class _Call:
    """A test runner in a script: what stands before it, its name, its own words."""

    before: list[str]
    runner: str
    words: list[str]


def _runner(command: str) -> _Call | None:
    """Return the test runner that a command calls, through variables and wrappers."""
    words = _TOKEN.findall(command)
    before: list[str] = []
    while words:
        word = words[0]
        name = word.strip("'\"").rsplit("/", 1)[-1]
        if _ASSIGNMENT.match(word) or word == "--":
            before.append(words.pop(0))
        elif name in _WRAPPERS:
            words.pop(0)
            keep = name not in _COVERAGE
            before += [word] if keep else []
            while words and words[0].startswith("-") and words[0] != "--":
                taken = 2 if words[0] in _WRAPPERS[name] and len(words) > 1 else 1
                before += words[:taken] if keep else []
                del words[:taken]
        else:
            break
    if not words:
        return None
    runner = words[0].strip("'\"").rsplit("/", 1)[-1].removesuffix(".js").removesuffix(".mjs").lstrip("_")
    if runner not in _RUNNERS:
        return None
    return _Call(before, runner, words)


def _by_file(commands: list[str]) -> str:
    """Return the command that runs single test files, made from the test script; "" when there is none."""
    for command in commands:
        call = _runner(command)
        if call is None:
            continue
        words = call.words
        if call.runner == "node":
            if "--test" not in words:
                script = next((word for word in words[1:] if not word.startswith("-")), "")
                known = re.search(r"node_modules/(?:\.bin/)?(jest|vitest|mocha|ava|tape|tap)\b", script)
                if known:
                    rest = words[words.index(script) + 1 :]
                    return _line(call.before, words[: words.index(script) + 1], known[1], rest)
                if script.endswith((".js", ".mjs", ".cjs", ".ts")):
                    return _line(call.before, ["node"], "node", _options(words[1:])).replace('"$@"', '"$1"')
                continue
            return _line(call.before, ["node", "--test"], "node", [w for w in words[1:] if w != "--test"])
        if call.runner in ("tsx", "bun"):
            if call.runner == "bun" and words[1:2] == ["test"]:
                return _line(call.before, words[:2], "bun", words[2:])
            if call.runner == "tsx" and "--test" in words:
                return _line(call.before, ["tsx", "--test"], "node", [w for w in words[1:] if w != "--test"])
            continue
        return _line(call.before, [words[0]], call.runner, words[1:])
    return ""


def _line(before: list[str], program: list[str], runner: str, words: list[str]) -> str:
    once = ["run"] if runner == "vitest" else []  # without it, vitest waits for changes
    whole = {"jest": ["--coverage=false"], "vitest": ["--coverage.enabled=false"]}.get(runner, [])
    reports = _REPORT_ARGUMENTS.get(runner, "")
    options = [*_options(words), *whole]
    options += [reports] if reports and reports not in options else []
    parts = [f"export {_PATH} &&", *before, *program, *once, *options, '"$@"']
    return " ".join(parts)


# Where a report needs arguments. `$OFFLOAD_RESULTS` is the run's own directory. A run that ends at its first
# failure would hide the others, of the base and of the head.
_REPORT_ARGUMENTS = {
    "jest": '--json --outputFile="$OFFLOAD_RESULTS/jest.json" --no-bail',
    "ava": "--tap",
    "vitest": '--reporter=default --reporter=junit --outputFile.junit="$OFFLOAD_RESULTS/vitest.xml" --bail=0',
}


def _options(words: list[str]) -> list[str]:
    """Return the options of a runner's command line, with their values, without files and selections."""
    kept: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        name, equals, _ = word.partition("=")
        has_value = not equals and name in (_WITH_VALUE | _SELECTING) and index + 1 < len(words)
        taken = words[index : index + 2] if has_value else [word]
        index += len(taken)
        if word.startswith("-") and name not in _SELECTING and name not in _DROPPED:
            kept += taken
    return kept


def _without_lint(package: _Package, script: str) -> list[str]:
    """Return the commands of a script that do not lint."""
    return [one for one in package.simple_commands(script) if not _LINTERS.search(one)]


def _test_step(package: _Package, name: str) -> Step:
    """Return the step that runs the test script, with a report where the runner offers one."""
    call, program = package.call
    scripts = package.scripts
    shell = f"{call} test" if name == "test" and package.manager != "bun" else f"{call} run {name}"
    commands = package.simple_commands(scripts[name])
    call_of_runner = _runner(commands[-1]) if commands else None
    runner = call_of_runner.runner if call_of_runner else ""
    reported = ""
    given = commands[-1] if commands else ""
    arguments = _REPORT_ARGUMENTS.get(runner, "")
    if runner == "mocha" and {"--bail", "-b"} & set(given.split()):
        arguments = "--no-bail"
    if arguments and _takes_arguments(package, name) and f"post{name}" not in scripts:
        taken = {"jest": "--json", "vitest": "--reporter", "ava": "--tap"}.get(runner, "--no-bail")
        if taken not in given:
            separator = " --" if package.manager == "npm" else ""
            reported = f"{shell}{separator} {arguments}"
    whole = " && ".join(scripts[one] for one in (f"pre{name}", name, f"post{name}") if one in scripts)
    body = package.resolved(whole)
    return Step(
        "test",
        f"{package.manager} {name}",
        shell,
        program,
        reported=reported,
        body=body,
        replay=f"export {_PATH} && {body}",
        node_reports=runner not in ("jest", "vitest", "mocha", "ava", "tap", "tape", "uvu", "lab", "bun"),
    )


def _takes_arguments(package: _Package, name: str) -> bool:
    """Tell whether arguments that are added to a script reach its only command."""
    script = package.scripts[name]
    if re.search(r"&&|\|\||;|\||>|&$|\$\(", script):
        return False
    called = package.called(script.strip())
    if called is None:
        return not script.strip().startswith(("npm ", "pnpm ", "yarn ", "turbo ", "nx ", "lerna "))
    # npm passes arguments on after `--` only.
    return not script.strip().startswith("npm") and _takes_arguments(package, called[0])


def detect(facts: RepositoryFacts) -> Toolchain | None:
    """Read package.json and the lock files."""
    if "package.json" not in facts.files:
        return None
    try:
        data = json.loads(facts.files["package.json"])
    except ValueError:
        data = {}
    package = _Package(facts, data if isinstance(data, dict) else {})
    scripts = package.scripts
    call, program = package.call
    manager, run = package.manager, f"{call} run"
    steps: list[Step] = []
    if any(package.data.get(key) for key in ("dependencies", "devDependencies", "workspaces")):
        steps.append(Step("install", f"{manager} install", package.install(), program))
    if "build" in scripts:
        steps.append(Step("build", f"{manager} build", f"{run} build", program))
    test_script = scripts.get("test", "")
    # `npm test` of many packages runs the linter first; `tests-only` is then the tests alone.
    lints_first = "lint" in test_script + scripts.get("pretest", "")
    alone = next((name for name in ("tests-only", "test:unit") if name in scripts and lints_first), "")
    name = alone or ("test" if test_script and _PLACEHOLDER not in test_script else "")
    by_file = ""
    if name:
        steps.append(_test_step(package, name))
        by_file = _by_file(package.simple_commands(scripts[name]))
        # What the tests need to be built runs before single files too, on both trees.
        before = _without_lint(package, scripts.get(f"pre{name}", ""))
        built = [one for one in package.simple_commands(scripts[name]) if _is_build(one)]
        if by_file and (before or built):
            line = " && ".join([f"export {_PATH}", *before, *built])
            by_file = f"{line} && {by_file}"
    for pattern, role in ((_EXTRA[0], "lint"), (_EXTRA[1], "types")):
        found = next((one for one in scripts if pattern.match(one)), "")
        if found:
            body = package.resolved(scripts[found])
            steps.append(Step(role, f"{manager} {found}", f"{run} {found}", program, body=body))
    if not steps:
        return None
    return Toolchain("node", tuple(steps), test_file=by_file, test_path=_TEST_PATH)


def _is_build(command: str) -> bool:
    """Tell whether a command of the test script builds what the tests run."""
    words = _TOKEN.findall(command)
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in ("npx", "cross-env")):
        words.pop(0)
    return (
        bool(words)
        and words[0] in ("tsc", "tsup", "rollup", "esbuild", "babel", "swc", "webpack", "vite")
        and (words[0] != "vite" or words[1:2] == ["build"])
        and "--noEmit" not in words
    )
