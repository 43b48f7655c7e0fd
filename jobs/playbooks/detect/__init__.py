"""Detection: which commands build, test and check a repository.

Pure on `RepositoryFacts`. Every ecosystem that is found counts. Make and just are what remains: where an
ecosystem has its own test command, a Makefile is taken to wrap the same thing.
"""

from __future__ import annotations

import re
from dataclasses import replace

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect import java, make, native, node, python
from jobs.playbooks.detect.base import ENV, Detector, Step, Toolchain
from jobs.playbooks.detect.packages import detect_packages

__all__ = ["ENV", "TASK_RUNNERS", "Step", "Toolchain", "detect"]

# Toolchains that call others.
TASK_RUNNERS = ("make", "just")

_ECOSYSTEMS: tuple[Detector, ...] = (
    node.detect, python.detect, native.rust, native.go, java.maven, java.gradle,
)  # fmt: skip
_ECOSYSTEM_TESTS = re.compile(
    r"\b(pytest|unittest|tox|nox|manage\.py|npm|npx|yarn|pnpm|jest|mocha|vitest|node|cargo|go (test|vet)|mvn"
    r"|gradle)\b"
)
_PACKAGED: dict[str, Detector] = {
    "node": node.detect, "python": python.detect, "rust": native.rust, "go": native.go,
}  # fmt: skip
_TASK_RUNNERS: tuple[Detector, ...] = (make.make, make.just)


def _unreached(step: Step) -> str:
    """Return a note about a target of tests that does not run, "" when it only calls an ecosystem's tests."""
    if not step.body or _ECOSYSTEM_TESTS.search(step.body.partition("\n")[2] or step.body):
        return ""
    return f"`{step.name}` did not run: it tests something else than what was detected."


def detect(facts: RepositoryFacts) -> list[Toolchain]:
    """Return the toolchains of a repository, in a stable order."""
    found = [toolchain for detector in _ECOSYSTEMS if (toolchain := detector(facts)) is not None]
    runners = [toolchain for detector in _TASK_RUNNERS if (toolchain := detector(facts)) is not None]
    tested = next((index for index, toolchain in enumerate(found) if toolchain.by_role("test")), None)
    if tested is None:
        found += runners[:1]
    else:
        notes = [note for runner in runners for step in runner.by_role("test") if (note := _unreached(step))]
        found[tested] = replace(found[tested], notes=(*found[tested].notes, *notes))
    names = {toolchain.name for toolchain in found if toolchain.by_role("test")}
    if names & set(TASK_RUNNERS):
        return found  # its target is taken to reach every package
    # A root's test command reaches the packages of its ecosystem; `go test ./...` stops at another module.
    left = [detector for name, detector in _PACKAGED.items() if name not in names - {"go"}]
    return found + detect_packages(facts, left)
