"""From toolchains and overrides to the tasks that gather evidence. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.playbooks.base import Context, RepositoryFacts
from jobs.playbooks.dependencies import altered
from jobs.playbooks.detect import TASK_RUNNERS, Step, Toolchain, detect
from jobs.playbooks.overrides import ROLES, Overrides
from jobs.remote.offload_runner.protocol import ISOLATED, Task

TASK_TIMEOUT = 1800
PROOF_TIMEOUT = 600
# The name of the toolchain that the repository's configuration makes.
REPOSITORY = "repository"
_TEST_FOLDER = r"(^|/)(tests?|__tests__|spec|testdata|fixtures|__snapshots__|src/test)/"
_TEST_SUPPORT = re.compile(rf"{_TEST_FOLDER}|(^|/)conftest\.py$|\.snap$")
_LINT_CONFIGURATION = re.compile(
    r"(^|/)(\.?ruff\.toml|\.?mypy\.ini|\.flake8|\.eslintrc(\.\w+)?|eslint\.config\.\w+|biome\.jsonc?|"
    r"tsconfig(\.[\w-]+)?\.json|\.pre-commit-config\.yaml|\.?clippy\.toml|\.?rustfmt\.toml|\.golangci\.ya?ml)$"
)

# Test runners write reports where the environment alone tells them to; the project's command stays as it is.
# A file that pytest cannot load keeps no other file's tests from running, and neither does a failing test.
_REPORTS = (
    'rm -rf "$OFFLOAD_RESULTS" 2>/dev/null; mkdir -p "$OFFLOAD_RESULTS"; '
    'export PYTEST_ADDOPTS="${PYTEST_ADDOPTS:+$PYTEST_ADDOPTS }'
    "--continue-on-collection-errors --maxfail=0 -o junit_family=xunit1 "
    "--junitxml='$OFFLOAD_RESULTS/pytest.xml'\" "
    "TOX_OVERRIDE=testenv.pass_env+=PYTEST_ADDOPTS; "
)
# An older node refuses the options, and would then run nothing at all.
_NODE_REPORTS = (
    "reports='--test-reporter=spec --test-reporter-destination=stdout --test-reporter=junit'; "
    'reports="$reports --test-reporter-destination=\\"$OFFLOAD_RESULTS/node.xml\\""; '
    'if NODE_OPTIONS="$reports" node -e 0 2>/dev/null; '
    'then export NODE_OPTIONS="${NODE_OPTIONS:+$NODE_OPTIONS }$reports"; fi; '
)


def with_reports(shell: str, *, node: bool = False) -> str:
    """Return a test command with the environment in which test runners write reports."""
    return f"{_REPORTS}{_NODE_REPORTS if node else ''}{shell}"


def toolchains_for(facts: RepositoryFacts, overrides: Overrides) -> list[Toolchain]:
    """Return the repository's toolchains with the overrides applied.

    An overridden role is taken from every toolchain and given once, by the toolchain `REPOSITORY`.
    """
    found = detect(facts)
    if overrides.results:
        found = [
            replace(
                toolchain,
                steps=tuple(
                    replace(step, results=overrides.results) if step.role == "test" else step
                    for step in toolchain.steps
                ),
                results=overrides.results,
            )
            for toolchain in found
        ]
    if not overrides.commands:
        return found
    taken = {role for role in ROLES if role in overrides.commands}
    kept = [
        replace(
            toolchain,
            steps=tuple(step for step in toolchain.steps if step.role not in taken),
            test_file="" if {"test", "test_file"} & set(overrides.commands) else toolchain.test_file,
        )
        for toolchain in found
    ]
    own = tuple(
        Step(
            role, role, line, results=overrides.results if role == "test" else (), node_reports=role == "test"
        )
        for role in ROLES
        if isinstance(line := overrides.commands.get(role), str)
    )
    one = overrides.commands.get("test_file")
    if not own and not one:
        return [toolchain for toolchain in kept if toolchain.steps]
    tests = [toolchain.test_path for toolchain in found if toolchain.test_path and not toolchain.directory]
    repository = Toolchain(
        REPOSITORY,
        own,
        test_file=one if isinstance(one, str) else "",
        test_path="|".join(f"(?:{pattern})" for pattern in [*tests, _TEST_FOLDER]),
        results=overrides.results,
    )
    return [repository, *(toolchain for toolchain in kept if toolchain.steps)]


def step_argv(name: str, session: str) -> list[str]:
    """Return the command of a task that the runner does itself."""
    return ["{python}", *ISOLATED, "{runner}", "--root", "{root}", "step", name, "--session", session]


@dataclass
class Evidence:
    """The tasks that build, test and check, their ids by role, and what runs on the base for each."""

    tasks: list[Task] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)

    def add(self, task: Task) -> str:
        """Take a task, giving it an id that no other has."""
        taken = {other.id for other in self.tasks}
        name, number = task.id, 1
        while name in taken:
            number += 1
            name = f"{task.id}-{number}"
        self.tasks.append(replace(task, id=name))
        self.ids.setdefault(task.role, []).append(name)
        return name

    def of(self, *roles: str) -> list[str]:
        """Return the ids of the tasks with these roles."""
        return [name for role in roles for name in self.ids.get(role, [])]

    def note(self, message: str, severity: str = "note") -> None:
        """Take something that the assessment has to say about the plan."""
        if all(note["message"] != message for note in self.notes):
            self.notes.append({"message": message, "severity": severity})


def setup(toolchains: Sequence[Toolchain]) -> list[Step]:
    """Return everything that installs and builds, in order.

    The repository's own installation comes before what was detected, and its own build after it: an
    override replaces one role and leaves the others to detection.
    """
    own = [toolchain for toolchain in toolchains if toolchain.name == REPOSITORY]
    others = [toolchain for toolchain in toolchains if toolchain.name != REPOSITORY]
    return [
        *(step for toolchain in own for step in toolchain.by_role("install")),
        *(step for toolchain in others for role in ("install", "build") for step in toolchain.by_role(role)),
        *(step for toolchain in own for step in toolchain.by_role("build")),
    ]


def gather(
    context: Context, toolchains: Sequence[Toolchain], base: Sequence[Toolchain], timeout: int
) -> Evidence:
    """Return install, build, test, lint and types tasks of all toolchains, with their needs.

    `base` are the toolchains of the merge base, whose commands run there for comparison, and on the head too
    where the change alters the test command.
    """
    evidence = Evidence()
    others = [toolchain for toolchain in toolchains if toolchain.name != REPOSITORY]

    def chain(toolchain: Toolchain, roles: Sequence[str], before: list[str]) -> list[str]:
        for role in roles:
            for step in toolchain.by_role(role):
                suffix = toolchain.name if len(others) > 1 and toolchain.name != REPOSITORY else ""
                before = [evidence.add(_task(step, context, timeout, suffix, before))]
        return before

    own = next((toolchain for toolchain in toolchains if toolchain.name == REPOSITORY), None)
    first = chain(own, ("install",), []) if own else []
    ready: dict[int, list[str]] = {}
    for toolchain in others:
        # A Makefile works with what the other toolchains installed.
        before = evidence.of("install", "build") if toolchain.name in TASK_RUNNERS else first
        ready[id(toolchain)] = chain(toolchain, ("install", "build"), before)
    built = chain(own, ("build",), evidence.of("install", "build")) if own else []
    for toolchain in toolchains:
        needs = evidence.of("install", "build") if toolchain is own else ready[id(toolchain)] + built
        for role in ("test", "lint", "types"):
            for step in toolchain.by_role(role):
                suffix = toolchain.name if len(others) > 1 and toolchain is not own else ""
                name = evidence.add(_task(step, context, timeout, suffix, needs))
                _compare(context, evidence, toolchain, step, name, base, timeout, needs)
        for note in toolchain.notes:
            evidence.note(note)
    _note_changes(context, evidence)
    return evidence


def _compare(
    context: Context,
    evidence: Evidence,
    toolchain: Toolchain,
    step: Step,
    name: str,
    base: Sequence[Toolchain],
    timeout: int,
    needs: Sequence[str],
) -> None:
    """Note what runs on the base for a task of the head, and whether the change alters the command."""
    old = next(
        (
            other
            for candidate in base
            if (candidate.name, candidate.directory) == (toolchain.name, toolchain.directory)
            for other in candidate.by_role(step.role)
            if other.name == step.name or step.role == "test"
        ),
        None,
    )
    there = old or step
    altered = old is not None and old.body != step.body and toolchain.name != REPOSITORY
    check = {"task": name, "role": step.role, "shell": _shell(there), "results": list(there.results)}
    evidence.checks.append({**check, "always": altered and step.role == "test"})
    if old is None or not altered:
        return
    if step.role != "test":
        evidence.note(f"The change alters how `{step.name}` checks.")
        return
    if not context.merge_base:
        return
    if not old.replay:
        evidence.note(f"The change alters how `{step.name}` tests, so it ran on the base as well.")
        return
    evidence.note(f"The change alters how `{step.name}` tests; the base's command ran on the head as well.")
    again = replace(there, shell=old.replay, reported="", name=f"{step.name} as on the base")
    task = _task(again, context, timeout, "as-on-base", needs)
    shown = old.replay if "\n" not in old.replay else f"{there.shell}  # as the base defines it"
    task = replace(task, outputs={**task.outputs, "of_base": name, "shown": shown})
    evidence.checks.append({**check, "task": evidence.add(task), "always": False})


def _shell(step: Step) -> str:
    if step.role != "test":
        return step.shell
    return with_reports(step.reported or step.shell, node=step.node_reports)


def _note_changes(context: Context, evidence: Evidence) -> None:
    """Note changes to dependencies and to the configuration of checks."""
    paths = [file.path for file in context.facts.changed]
    before, after = context.facts.at_merge_base.files, context.facts.files
    dependencies = altered(context.facts.changed, before, after)
    if dependencies:
        evidence.note(f"The change alters dependencies: {', '.join(dependencies[:5])}.")
    lint = [path for path in paths if _LINT_CONFIGURATION.search(path)]
    if lint and evidence.of("lint", "types"):
        evidence.note(f"The change alters the configuration of checks: {', '.join(lint[:5])}.")


def _task(step: Step, context: Context, timeout: int, suffix: str, needs: Sequence[str]) -> Task:
    if step.role in ("lint", "types"):
        # `npm lint` is the lint, `cargo clippy` one of several.
        tool = re.sub(r"[^a-z0-9]+", "-", step.name.lower().split()[-1]).strip("-")
        suffix = suffix if tool == step.role else tool
    shell, outputs = _shell(step), dict[str, Any]()
    if step.role == "test":
        outputs["shown"] = step.shell
    if step.directory:
        outputs["directory"] = step.directory
    if step.results:
        outputs["results"] = list(step.results)
    if step.needs_program and step.needs_program not in context.facts.tools:
        outputs["missing_program"] = step.needs_program
        message = f"{step.needs_program} is not installed on this worker, so `{step.shell}` cannot run."
        shell = f"printf '%s\\n' {shlex.quote(message)} >&2; exit 127"
    return Task(
        id=f"{step.role}-{suffix}"[:36].strip("-") if suffix else step.role,
        name=step.name,
        role=step.role,
        shell=shell,
        needs=list(needs),
        timeout=timeout,
        outputs=outputs,
    )


def proof_groups(
    context: Context, toolchains: Sequence[Toolchain], evidence: Evidence
) -> list[dict[str, Any]]:
    """Return what the behavioural proof has to run: the changed tests of each toolchain.

    A changed helper, fixture or snapshot is support: the tests that use it run.
    """
    changed = [file.path for file in context.facts.changed if file.status != "D" and not file.binary]
    support = [
        file.path for file in context.facts.changed if file.status != "D" and _TEST_SUPPORT.search(file.path)
    ]
    groups: list[dict[str, Any]] = []
    proven: set[str] = set()
    unproven: dict[str, Toolchain] = {}
    for toolchain in toolchains:
        tests = [path for path in changed if toolchain.is_test(path)]
        if not toolchain.test_file:
            unproven.update(dict.fromkeys(tests, toolchain))
            continue
        inside = f"{toolchain.directory}/" if toolchain.directory else ""
        used = [path for path in support if path not in tests and path.startswith(inside)]
        if not tests and not used:
            continue
        proven.update(tests)
        groups.append(
            {
                "test_files": tests,
                "support": used,
                "pattern": toolchain.test_path,
                "shell": with_reports(
                    toolchain.test_file,
                    node=any(step.node_reports for step in toolchain.steps),
                ),
                "cwd": toolchain.directory,
                "timeout": PROOF_TIMEOUT,
                "results": list(toolchain.results),
            }
        )
    for path, toolchain in unproven.items():
        if path not in proven:
            runner = next((step.name for step in toolchain.by_role("test")), toolchain.name)
            evidence.note(f"The changed tests were not proven: {runner} cannot run single files.")
    return groups


def on_base_shown(toolchains: Sequence[Toolchain]) -> str:
    """Return what people see of the base's run: the repository's own commands."""
    tests = [step for toolchain in toolchains for step in toolchain.by_role("test")]
    return " && ".join(f"{{ {step.shell}; }}" for step in [*setup(toolchains), *tests])
