"""Repositories of several packages: the ones that a change touches, and those that depend on them."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import Detector, Step, Toolchain

_MANIFEST = re.compile(
    r"(?P<folder>.+)/(package\.json|pyproject\.toml|setup\.py|Cargo\.toml|go\.mod|[Mm]akefile)"
)
_NAME = (
    re.compile(r'(?:^|[{,])\s*"name"\s*:\s*"([^"]+)"', re.MULTILINE),
    re.compile(r'^name\s*=\s*"([^"]+)"', re.MULTILINE),
    re.compile(r"^module\s+(\S+)", re.MULTILINE),
)
_MOST = 12


def detect_packages(facts: RepositoryFacts, detectors: Sequence[Detector]) -> list[Toolchain]:
    """Return the toolchains of packages below the root, with commands that run in their folders.

    `detectors` are those of the ecosystems whose packages no test command of the root reaches.
    """
    folders = sorted({match["folder"] for name in facts.files if (match := _MANIFEST.fullmatch(name))})
    if not detectors or not folders:
        return []
    touched = _touched(facts, folders)
    chosen = sorted(touched | _dependents(facts, folders, touched))
    found: list[Toolchain] = []
    for folder in chosen[:_MOST]:
        inner = _inside(facts, folder)
        for detector in detectors:
            toolchain = detector(inner)
            if toolchain is not None and toolchain.steps:
                found.append(_placed(toolchain, folder))
    left = [folder for folder in folders if folder not in chosen[:_MOST]]
    if found and left:
        named = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        note = f"These packages were not tested, for the change does not touch them: {named}."
        found[0] = replace(found[0], notes=(*found[0].notes, note))
    return found


def _touched(facts: RepositoryFacts, folders: Sequence[str]) -> set[str]:
    touched = set()
    for file in facts.changed:
        inside = [folder for folder in folders if file.path.startswith(folder + "/")]
        if inside:
            touched.add(max(inside, key=len))
    return touched


def _dependents(facts: RepositoryFacts, folders: Sequence[str], touched: set[str]) -> set[str]:
    """Return the packages whose manifests name a touched package, directly or through others."""
    texts = {
        folder: "\n".join(text for name, text in facts.files.items() if posixpath.dirname(name) == folder)
        for folder in folders
    }
    names = {
        folder: [match[1] for pattern in _NAME for match in pattern.finditer(text)][:1]
        for folder, text in texts.items()
    }
    found: set[str] = set()
    pending = set(touched)
    while pending:
        words = [name for folder in pending for name in names[folder]]
        pending = {
            folder
            for folder in folders
            if folder not in touched | found
            and any(re.search(rf"(?<![\w@/-]){re.escape(word)}(?![\w/-])", texts[folder]) for word in words)
        }
        found |= pending
    return found


def _inside(facts: RepositoryFacts, folder: str) -> RepositoryFacts:
    """Return the facts as seen from a folder."""
    prefix = folder + "/"
    files = {name[len(prefix) :]: text for name, text in facts.files.items() if name.startswith(prefix)}
    changed = tuple(
        replace(file, path=file.path[len(prefix) :]) for file in facts.changed if file.path.startswith(prefix)
    )
    below = {file.path.split("/")[0] for file in changed}
    entries = tuple(sorted({name.split("/")[0] for name in files} | below | {"tests", "test"} & below))
    return replace(facts, root_entries=entries, files=files, changed=changed)


def _placed(toolchain: Toolchain, folder: str) -> Toolchain:
    where = shlex.quote(folder)

    def placed(line: str) -> str:
        return f"cd {where} && {line}" if line else ""

    def place(step: Step) -> Step:
        moved = replace(step, reported=placed(step.reported), replay=placed(step.replay))
        results = tuple(f"{folder}/{pattern}" for pattern in step.results)
        name = f"{step.name} in {folder}"
        return replace(moved, name=name, results=results, shell=placed(step.shell), directory=folder)

    return replace(toolchain, steps=tuple(place(step) for step in toolchain.steps), directory=folder)
