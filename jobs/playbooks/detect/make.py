"""Make and just: the targets that a repository names itself."""

from __future__ import annotations

import re
import shlex

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import Step, Toolchain

_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_JUSTFILES = ("justfile", ".justfile", "Justfile")
_MAKE_TARGET = re.compile(
    r"^(?P<names>[A-Za-z0-9_.-]+(?:[ \t]+[A-Za-z0-9_.-]+)*)[ \t]*::?(?!=)", re.MULTILINE
)
_RECIPE = re.compile(r"^@?(?P<name>[A-Za-z_][A-Za-z0-9_-]*)(?:[ \t]+[^:\n]*)?:(?!=)", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z0-9_.-]+")
# `$(NAME)`, `${NAME}` and `$(MAKE) name`.
_CALLED = re.compile(r"(?:\$[({]MAKE[)}][ \t]+|\$[({])([A-Za-z0-9_.-]+)")
_MOST_PARTS = 50
_MOST_REPLAYED = 32 * 1024  # an argument has 128 KiB at most
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
        Step(
            role,
            f"{tool} {name}",
            f"{tool} {name}",
            tool,
            # What fails first hides no other prerequisite.
            reported=f"make -k {name}" if (tool, role) == ("make", "test") else "",
            body=_recipe(text, name),
            replay=_replay(tool, text, name),
            node_reports=True,
        )
        for role, name in chosen.items()
        if name
    )


def _recipe(text: str, name: str) -> str:
    """Return what a target or recipe comes to: its lines, those of its prerequisites, variables that it uses.

    A target's lines go from its name to the next line that is not indented.
    """
    found: dict[str, str] = {}
    waiting = [name]
    while waiting and len(found) < _MOST_PARTS:
        one = waiting.pop(0)
        if one in found:
            continue
        target = rf"^@?(?:[^\s:]+[ \t]+)*{re.escape(one)}\b[^\n]*:[^\n]*\n(?:[ \t]+[^\n]*\n?|\n)*"
        variable = rf"^(?:export[ \t]+)?{re.escape(one)}[ \t]*[:?+!]*=(?:[^\n]*\\\n)*[^\n]*"
        found[one] = "\n".join(
            match[0].strip()
            for pattern in (target, variable)
            for match in re.finditer(pattern, text, re.MULTILINE)
        )
        first = found[one].partition("\n")[0]
        waiting += [*_WORD.findall(first.partition(":")[2]), *_CALLED.findall(found[one])]
    return "\n".join(part for part in found.values() if part)


def _replay(tool: str, text: str, name: str) -> str:
    """Return a line that makes a target by this Makefile whatever the tree's own says; "" for none.

    make reads it from its input, so a Makefile that asks for its own place cannot be replayed.
    """
    if tool != "make" or len(text) > _MOST_REPLAYED or "MAKEFILE_LIST" in text:
        return ""
    return f"printf %s {shlex.quote(text)} | make -f - {name}"


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
