"""Make and just: the targets that a repository names itself."""

from __future__ import annotations

import re

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import Step, Toolchain

_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_JUSTFILES = ("justfile", ".justfile", "Justfile")
_MAKE_TARGET = re.compile(
    r"^(?P<names>[A-Za-z0-9_.-]+(?:[ \t]+[A-Za-z0-9_.-]+)*)[ \t]*::?(?!=)", re.MULTILINE
)
_RECIPE = re.compile(r"^@?(?P<name>[A-Za-z_][A-Za-z0-9_-]*)(?:[ \t]+[^:\n]*)?:(?!=)", re.MULTILINE)
_WANTED = (
    ("build", ("build",)),
    ("test", ("test", "tests", "check")),
    ("lint", ("lint",)),
    ("types", ("typecheck", "types")),
)


def _steps(tool: str, names: set[str], text: str) -> tuple[Step, ...]:
    chosen = {role: next((name for name in wanted if name in names), "") for role, wanted in _WANTED}
    if not chosen["test"] and not chosen["build"] and "all" in names:
        # Tests build what they need, while `all` is often about a release.
        chosen["build"] = "all"
    return tuple(
        Step(role, f"{tool} {name}", f"{tool} {name}", tool, body=_recipe(text, name), node_reports=True)
        for role, name in chosen.items()
        if name
    )


def _recipe(text: str, name: str) -> str:
    """Return the lines of a target or recipe, from its name to the next line that is not indented."""
    target = rf"^@?(?:[^\s:]+[ \t]+)*{re.escape(name)}\b[^\n]*:[^\n]*\n(?:[ \t]+[^\n]*\n?|\n)*"
    match = re.search(target, text, re.MULTILINE)
    return match[0].strip() if match else ""


def make(facts: RepositoryFacts) -> Toolchain | None:
    """The targets of the Makefile."""
    text = next((facts.files[name] for name in _MAKEFILES if name in facts.files), "")
    names = {name for match in _MAKE_TARGET.finditer(text) for name in match["names"].split()}
    steps = _steps("make", names, text)
    return Toolchain("make", steps) if steps else None


def just(facts: RepositoryFacts) -> Toolchain | None:
    """The recipes of the justfile."""
    text = next((facts.files[name] for name in _JUSTFILES if name in facts.files), "")
    names = {match["name"] for match in _RECIPE.finditer(text)}
    steps = _steps("just", names, text)
    return Toolchain("just", steps) if steps else None
