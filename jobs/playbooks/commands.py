"""From toolchains and overrides to the tasks that gather evidence. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.playbooks.base import Context
from jobs.playbooks.detect import TASK_RUNNERS, Step, Toolchain, detect
from jobs.playbooks.overrides import ROLES, Overrides
from jobs.remote.offload_runner.protocol import ISOLATED, Task

TASK_TIMEOUT = 1800
PROOF_TIMEOUT = 600
# The name of the toolchain that the repository's configuration makes.
REPOSITORY = "repository"
_TEST_FOLDER = re.compile(r"(^|/)(tests?|__tests__|spec|testdata|fixtures|src/test)/")
_TEST_SUPPORT = re.compile(r"(^|/)conftest\.py$")


def toolchains_for(context: Context, overrides: Overrides) -> list[Toolchain]:
    """Return the repository's toolchains with the overrides applied.

    An overridden role is taken from every toolchain and given once, by the toolchain `REPOSITORY`.
    """
    found = detect(context.facts)
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
        Step(role, role, line) for role in ROLES if isinstance(line := overrides.commands.get(role), str)
    )
    one = overrides.commands.get("test_file")
    tests = [toolchain.is_test for toolchain in found]
    repository = Toolchain(
        REPOSITORY,
        own,
        test_file=one if isinstance(one, str) else "",
        is_test=lambda path: any(is_test(path) for is_test in tests) or bool(_TEST_FOLDER.search(path)),
    )
    return [repository, *(toolchain for toolchain in kept if toolchain.steps)]


def step_argv(name: str, session: str) -> list[str]:
    """Return the command of a task that the runner does itself."""
    return ["{python}", *ISOLATED, "{runner}", "--root", "{root}", "step", name, "--session", session]


@dataclass
class Evidence:
    """The tasks that build, test and check, and their ids by role."""

    tasks: list[Task] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=dict)

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


def gather(context: Context, toolchains: Sequence[Toolchain], timeout: int) -> Evidence:
    """Return install, build, test, lint and types tasks of all toolchains, with their needs."""
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
    ready: dict[str, list[str]] = {}
    for toolchain in others:
        # A Makefile works with what the other toolchains installed.
        before = evidence.of("install", "build") if toolchain.name in TASK_RUNNERS else first
        ready[toolchain.name] = chain(toolchain, ("install", "build"), before)
    built = chain(own, ("build",), evidence.of("install", "build")) if own else []
    for toolchain in toolchains:
        needs = evidence.of("install", "build") if toolchain is own else ready[toolchain.name] + built
        for role in ("test", "lint", "types"):
            for step in toolchain.by_role(role):
                suffix = toolchain.name if len(others) > 1 and toolchain is not own else ""
                evidence.add(_task(step, context, timeout, suffix, needs))
    return evidence


def _task(step: Step, context: Context, timeout: int, suffix: str, needs: Sequence[str]) -> Task:
    if step.role in ("lint", "types"):
        # `npm lint` is the lint, `cargo clippy` one of several.
        tool = re.sub(r"[^a-z0-9]+", "-", step.name.lower().split()[-1]).strip("-")
        suffix = suffix if tool == step.role else tool
    shell, outputs = step.shell, dict[str, Any]()
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


def proof_groups(context: Context, toolchains: Sequence[Toolchain]) -> list[Mapping[str, Any]]:
    """Return what the behavioural proof has to run: the changed tests of each toolchain."""
    changed = [file for file in context.facts.changed if file.status != "D" and not file.binary]
    groups: list[Mapping[str, Any]] = []
    for toolchain in toolchains:
        if not toolchain.test_file:
            continue
        tests = [file.path for file in changed if toolchain.is_test(file.path)]
        if not tests:
            continue
        overlay = [
            file.path
            for file in context.facts.changed
            if file.status != "D"
            and file.path not in tests
            and (_TEST_FOLDER.search(file.path) or _TEST_SUPPORT.search(file.path))
        ]
        whole = toolchain.name == REPOSITORY
        needed = [other for other in toolchains if whole or other.name in (REPOSITORY, toolchain.name)]
        groups.append(
            {
                "test_files": tests,
                "command": ["sh", "-c", toolchain.test_file, "sh", "{tests}"],
                "setup": [["sh", "-c", step.shell] for step in setup(needed)],
                "overlay": overlay,
                "timeout": PROOF_TIMEOUT,
            }
        )
    return groups


def on_base(context: Context, toolchains: Sequence[Toolchain]) -> str:
    """Return the shell line that installs, builds and tests the base commit in its own worktree."""
    make_tree = " ".join(f'"{word}"' for word in step_argv("base-worktree", context.session))
    return f'{make_tree} && cd "{{base_worktree}}" && {on_base_shown(toolchains)}'


def on_base_shown(toolchains: Sequence[Toolchain]) -> str:
    """Return what people see of it: the repository's own commands."""
    tests = [step for toolchain in toolchains for step in toolchain.by_role("test")]
    return " && ".join(f"{{ {step.shell}; }}" for step in [*setup(toolchains), *tests])
