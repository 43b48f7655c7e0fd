"""What detection finds in a repository: commands by role, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.playbooks.base import RepositoryFacts

# Where a Python environment is, below the tree it belongs to. Git ignores it: the runner excludes it.
ENV = ".venv"


@dataclass(frozen=True)
class Step:
    """One command. `needs_program` is looked up on the worker first, to say plainly what is missing."""

    role: str
    name: str
    shell: str
    needs_program: str = ""


@dataclass(frozen=True)
class Toolchain:
    """The commands of one ecosystem in one repository. All of them are shell lines, run in a tree's root.

    `test_file` runs the tests of one file, whose path is `$1`; empty when the ecosystem cannot do that.
    `is_test` tells which paths are tests.
    """

    name: str
    steps: tuple[Step, ...] = ()
    test_file: str = ""
    is_test: Callable[[str], bool] = field(default=lambda path: False, compare=False)

    def by_role(self, role: str) -> tuple[Step, ...]:
        """Return the steps of one role, in order."""
        return tuple(step for step in self.steps if step.role == role)


Detector = Callable[[RepositoryFacts], Toolchain | None]


def has(facts: RepositoryFacts, *names: str) -> bool:
    """Tell whether any of these is at the root of the head."""
    return any(name in facts.root_entries for name in names)
