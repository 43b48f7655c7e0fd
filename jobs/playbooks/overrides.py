"""A repository's settings of its own commands: `.offload/config.toml` or `[tool.offload]`, at the base.

    parallel = 4                    # tasks at once
    timeout = 1800                  # seconds for one task
    hunks = false                   # no proof per hunk; a number: seconds for it
    ports = ["PORT"]                # variables that each hold a port of the job's own
    [commands]                      # a shell line instead of what was detected; false: no such task
    install = "make deps"
    build = false
    test = "make check"
    test_file = 'make check ONE="$1"'
    lint = "make lint"
    types = false
    results = "reports/*.xml"       # test reports (JUnit XML, TAP, JSON) below the tree, one glob or a list
    [[tasks]]                       # further tasks
    id = "docs"
    shell = "make docs"
    needs = ["install"]
    secrets = ["DOCS_TOKEN"]        # which the job must have been given with --secret
    writes = true                   # with secrets: it writes to the tree, which it else can only read
    [secrets]                       # the same for what was detected
    install = ["NPM_TOKEN"]

Taken from the base branch only: a pull request cannot change how it is reviewed.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import UsageError
from jobs.playbooks.base import RepositoryFacts
from jobs.remote.offload_runner.protocol import VARIABLE

CONFIG = ".offload/config.toml"
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
ROLES = ("install", "build", "test", "lint", "types")
_TOP = ("commands", "hunks", "parallel", "ports", "secrets", "tasks", "timeout")
_TASK = ("id", "name", "shell", "needs", "secrets", "timeout", "writes")


@dataclass(frozen=True)
class ExtraTask:
    """A task that the repository adds."""

    id: str
    name: str
    shell: str
    needs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    timeout: int | None = None
    writes: bool = True


@dataclass(frozen=True)
class Overrides:
    """What the base branch configures. `commands` maps a role (or `test_file`) to a line, or False."""

    commands: Mapping[str, str | bool] = field(default_factory=dict)
    parallel: int | None = None
    timeout: int | None = None
    tasks: tuple[ExtraTask, ...] = ()
    ports: tuple[str, ...] = ()
    secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # role -> names
    results: tuple[str, ...] = ()  # globs
    hunks: int | None = None  # seconds for the proof per hunk; 0: none


def read(facts: RepositoryFacts) -> Overrides:
    """Return the overrides of the base branch. Raises `UsageError` naming the file and the key."""
    if CONFIG in facts.base_files:
        return _parse(_toml(CONFIG, facts.base_files[CONFIG]), CONFIG)
    if "pyproject.toml" in facts.base_files:
        try:
            table = tomllib.loads(facts.base_files["pyproject.toml"]).get("tool", {}).get("offload")
        except tomllib.TOMLDecodeError:
            return Overrides()
        if table is not None:
            return _parse(table, "pyproject.toml [tool.offload]")
    return Overrides()


def _toml(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"Reading {name} of the base branch failed: {error}.", hint="Correct it on the base branch."
        ) from error


def _known(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"{where} of the base branch has an unknown key {key!r}.",
                hint=f"{meant}Known: {', '.join(known)}.",
            )


def _seconds(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{where} of the base branch must be a positive whole number, not {value!r}.")
    return value


def _parse(table: Any, source: str) -> Overrides:
    if not isinstance(table, dict):
        raise UsageError(f"{source} of the base branch is not a table.")
    _known(table, _TOP, source)
    commands = table.get("commands", {})
    if not isinstance(commands, dict):
        raise UsageError(f"{source}: `commands` of the base branch is not a table.")
    _known(commands, (*ROLES, "test_file", "results"), f"{source}: [commands]")
    results = _results(commands.get("results", []), source)
    commands = {key: value for key, value in commands.items() if key != "results"}
    for key, value in commands.items():
        if value is not False and not (isinstance(value, str) and value.strip()):
            raise UsageError(
                f"{source}: {key} of the base branch must be a shell line or false, not {value!r}."
            )
    extra = table.get("tasks", [])
    if not isinstance(extra, list) or not all(isinstance(item, dict) for item in extra):
        raise UsageError(f"{source}: `tasks` of the base branch is not a list of tables.")
    return Overrides(
        commands=dict(commands),
        parallel=_seconds(table["parallel"], f"{source}: parallel") if "parallel" in table else None,
        timeout=_seconds(table["timeout"], f"{source}: timeout") if "timeout" in table else None,
        tasks=tuple(_task(item, source) for item in extra),
        ports=_ports(table.get("ports", []), source),
        secrets=_secrets(table.get("secrets", {}), source),
        results=results,
        hunks=_hunks(table.get("hunks", True), source),
    )


def _results(value: Any, source: str) -> tuple[str, ...]:
    globs = [value] if isinstance(value, str) else value
    if not isinstance(globs, list) or not all(
        isinstance(name, str) and name and not name.startswith("/") and ".." not in name.split("/")
        for name in globs
    ):
        raise UsageError(
            f"{source}: results of the base branch must be patterns below the tree, not {value!r}.",
            hint='Write results = "reports/*.xml".',
        )
    return tuple(globs)


def _hunks(value: Any, source: str) -> int | None:
    if value is True:
        return None
    return 0 if value is False else _seconds(value, f"{source}: hunks")


def _secrets(table: Any, source: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, dict):
        raise UsageError(f"{source}: `secrets` of the base branch is not a table.")
    _known(table, ROLES, f"{source}: [secrets]")
    return {role: _secret_names(names, f"{source}: secrets of {role}") for role, names in table.items()}


def _secret_names(names: Any, where: str) -> tuple[str, ...]:
    return _names(
        names, _SECRET, f"{where} of the base branch must be a list of names",
        'Write secrets = ["NPM_TOKEN"]; the names, never the values.',
    )  # fmt: skip


def _ports(names: Any, source: str) -> tuple[str, ...]:
    return _names(
        names, VARIABLE, f"{source}: ports of the base branch must be a list of variables",
        'Write ports = ["PORT"]; capital letters, digits and underscores.',
    )  # fmt: skip


def _names(names: Any, pattern: re.Pattern[str], rule: str, hint: str) -> tuple[str, ...]:
    """Return a list of names that all have the form of `pattern`. Raises `UsageError` with the rule."""
    if not isinstance(names, list) or not all(
        isinstance(name, str) and pattern.fullmatch(name) for name in names
    ):
        raise UsageError(f"{rule}, not {names!r}.", hint=hint)
    return tuple(names)


def _task(item: Mapping[str, Any], source: str) -> ExtraTask:
    _known(item, _TASK, f"{source}: [[tasks]]")
    needs = item.get("needs", [])
    if not all(isinstance(item.get(key), str) and item[key] for key in ("id", "shell")) or not (
        isinstance(needs, list) and all(isinstance(need, str) for need in needs)
    ):
        raise UsageError(
            f"{source}: a task of the base branch is incomplete: {dict(item)!r}.",
            hint='Each needs an id and a shell line; needs is a list of ids: needs = ["install"].',
        )
    return ExtraTask(
        id=item["id"],
        name=item.get("name", item["id"]),
        shell=item["shell"],
        needs=tuple(needs),
        secrets=_secret_names(item.get("secrets", []), f"{source}: secrets of {item['id']}"),
        timeout=_seconds(item["timeout"], f"{source}: timeout of {item['id']}")
        if "timeout" in item
        else None,
        writes=_writes(item, source),
    )


def _writes(item: Mapping[str, Any], source: str) -> bool:
    """Return whether a task writes to the tree. One with secrets does not unless it says so."""
    if "writes" in item and not item.get("secrets"):
        raise UsageError(
            f"{source}: {item['id']} of the base branch has 'writes' and no 'secrets'.",
            hint="Only a task with secrets has a read-only tree. Remove `writes`.",
        )
    value = item.get("writes", not item.get("secrets"))
    if not isinstance(value, bool):
        raise UsageError(
            f"{source}: writes of {item['id']} of the base branch must be true or false, not {value!r}."
        )
    return value
