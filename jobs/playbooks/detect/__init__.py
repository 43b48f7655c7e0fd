"""Detection: which commands build, test and check a repository.

Pure on `RepositoryFacts`. Every ecosystem that is found counts. Make and just are what remains: where an
ecosystem has its own test command, a Makefile is taken to wrap the same thing.
"""

from __future__ import annotations

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
_PACKAGED: dict[str, Detector] = {
    "node": node.detect, "python": python.detect, "rust": native.rust, "go": native.go,
}  # fmt: skip
_TASK_RUNNERS: tuple[Detector, ...] = (make.make, make.just)


def detect(facts: RepositoryFacts) -> list[Toolchain]:
    """Return the toolchains of a repository, in a stable order."""
    found = [toolchain for detector in _ECOSYSTEMS if (toolchain := detector(facts)) is not None]
    if not any(toolchain.by_role("test") for toolchain in found):
        runners = [toolchain for detector in _TASK_RUNNERS if (toolchain := detector(facts)) is not None]
        found += runners[:1]
    names = {toolchain.name for toolchain in found if toolchain.by_role("test")}
    if names & set(TASK_RUNNERS):
        return found  # its target is taken to reach every package
    # A root's test command reaches the packages of its ecosystem; `go test ./...` stops at another module.
    left = [detector for name, detector in _PACKAGED.items() if name not in names - {"go"}]
    return found + detect_packages(facts, left)
