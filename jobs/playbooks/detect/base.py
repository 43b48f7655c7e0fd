"""What detection finds in a repository: commands by role, as data."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from jobs.playbooks.base import RepositoryFacts

# Where a Python environment is, below the tree it belongs to. Git ignores it: the runner excludes it.
ENV = ".venv"


@dataclass(frozen=True)
class Step:
    """One command. `needs_program` is looked up on the worker first, to say plainly what is missing.

    `reported` is the command with arguments for a test report, where `shell` is the project's own without
    them. `results` are globs of test reports below
    the tree. `body` is what the command comes to when it only names something (the text of a script): when
    head and base differ in it, the change alters how it is tested. `replay` runs that body in another tree.
    `node_reports` asks node's own test runner for a report. `directory` is where `shell` goes first.
    """

    role: str
    name: str
    shell: str
    needs_program: str = ""
    reported: str = ""
    results: tuple[str, ...] = ()
    body: str = ""
    replay: str = ""
    node_reports: bool = False
    directory: str = ""


@dataclass(frozen=True)
class Toolchain:
    """The commands of one ecosystem in one directory of a repository: shell lines, run in a tree's root.

    `test_file` runs the tests of the files that are its arguments (`"$@"`), or of one (`"$1"`), relative to
    `directory`; it is empty when the ecosystem cannot do that. `test_path` is a regular expression of the
    paths that are tests. `notes` say what exists and is not run, with the reason.
    """

    name: str
    steps: tuple[Step, ...] = ()
    test_file: str = ""
    test_path: str = ""
    results: tuple[str, ...] = ()
    directory: str = ""
    notes: tuple[str, ...] = ()

    def by_role(self, role: str) -> tuple[Step, ...]:
        """Return the steps of one role, in order."""
        return tuple(step for step in self.steps if step.role == role)

    def is_test(self, path: str) -> bool:
        """Tell whether a path, from the top of the repository, is a test of this toolchain."""
        inside = f"{self.directory}/" if self.directory else ""
        return (
            bool(self.test_path)
            and path.startswith(inside)
            and bool(re.search(self.test_path, path[len(inside) :]))
        )


Detector = Callable[[RepositoryFacts], Toolchain | None]


def has(facts: RepositoryFacts, *names: str) -> bool:
    """Tell whether any of these is at the root of the head."""
    return any(name in facts.root_entries for name in names)
