"""This machine as a worker: always there, never made, never stopped."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.errors import NotFound, UsageError
from jobs.providers.base import (
    Instance,
    InstanceState,
    Problem,
    Severity,
    WorkerProvider,
)
from jobs.transport.endpoint import Endpoint, LocalEndpoint

LOCAL = "local"
TMUX_NEEDED = (3, 0)
GIT_NEEDED = (2, 25)
PYTHON_NEEDED = (3, 9)
FREE_NEEDED = 1 << 30  # bytes: less than this cannot hold a worktree and its dependencies
FREE_WANTED = 5 << 30
PROBE_SECONDS = 10.0


class LocalProvider(WorkerProvider):
    """This machine, under the name its configuration gives it (`local`)."""

    kind = "local"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._name = str(config.get("name") or LOCAL)
        self._root = str(config.get("root") or Path.home())

    async def create(self, spec: Mapping[str, Any], name: str) -> None:
        """Accept the one name there is. Raises `UsageError` for any other."""
        if name != self._name:
            raise UsageError(
                f"Making the machine {name} failed: the local provider is this machine and makes no others.",
                hint=f"Use the worker {self._name!r}, or another provider.",
            )

    async def get(self, name: str) -> Instance | None:
        """Return this machine when it is meant."""
        return Instance(name, InstanceState.RUNNING, "This machine.") if name == self._name else None

    async def list(self) -> Sequence[Instance]:
        """Return this machine."""
        return [Instance(self._name, InstanceState.RUNNING, "This machine.")]

    async def start(self, name: str) -> None:
        """Do nothing: the local machine always runs."""
        if name != self._name:
            raise NotFound(f"Starting {name} failed: this machine is called {self._name!r}.")

    async def stop(self, name: str) -> None:
        """Refuse to stop this machine."""
        self._refuse("Stopping", name)

    async def delete(self, name: str) -> None:
        """Refuse to delete this machine."""
        self._refuse("Deleting", name)

    def _refuse(self, doing: str, name: str) -> None:
        if name == self._name:
            raise UsageError(f"{doing} {name} failed: it is this machine.", hint="Cancel its jobs instead.")

    def endpoint(self, instance: Instance) -> Endpoint:
        """Return this machine."""
        return LocalEndpoint()

    async def check(self) -> Sequence[Problem]:
        """Look for the programs a worker needs, and for room on its disk."""
        return await asyncio.to_thread(self._check)

    def _check(self) -> Sequence[Problem]:
        return [
            _program("tmux", ["tmux", "-V"], TMUX_NEEDED),
            _program("git", ["git", "--version"], GIT_NEEDED),
            _python(),
            _disk(self._root),
            _docker(),
        ]


def read_version(text: str) -> tuple[int, int] | None:
    """Return major and minor of the first version in `text`: `tmux 3.3a`, `git version 2.39.5`."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _probe(argv: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stdout or done.stderr).decode(errors="replace").strip()


def _program(name: str, argv: Sequence[str], needed: tuple[int, int]) -> Problem:
    remedy = f"Install {name} {needed[0]}.{needed[1]} or newer and put it on the PATH."
    path = shutil.which(name)
    if path is None:
        return Problem(Severity.FAIL, name, f"There is no {name} on the PATH.", remedy)
    status, text = _probe(argv)
    version = read_version(text)
    if status != 0:
        return Problem(Severity.FAIL, name, f"{path} does not run: {text}", remedy)
    if version is None:  # `tmux master` and friends
        return Problem(Severity.WARN, name, f"{path} says {text!r}, which names no version.", remedy)
    if version < needed:
        return Problem(Severity.FAIL, name, f"{text} ({path}) is too old.", remedy)
    return Problem(Severity.PASS, name, f"{text} ({path})")


def _python() -> Problem:
    version = sys.version.split()[0]
    if sys.version_info[:2] < PYTHON_NEEDED:
        return Problem(Severity.FAIL, "python", f"Python {version} is too old.", "Use Python 3.9 or newer.")
    return Problem(Severity.PASS, "python", f"Python {version} ({sys.executable})")


def _disk(root: str) -> Problem:
    place = root
    while not os.path.exists(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Problem(Severity.FAIL, "disk", f"{place} cannot be read: {error.strerror}.")
    text = f"{free / (1 << 30):.1f} GiB are free for {root}."
    remedy = "Remove old jobs with `manage.py offload rm`, or move the worker's root."
    if free < FREE_NEEDED:
        return Problem(Severity.FAIL, "disk", text, remedy)
    return Problem(Severity.WARN if free < FREE_WANTED else Severity.PASS, "disk", text, remedy)


def _docker() -> Problem:
    remedy = "Without Docker, jobs run as you, on this machine itself."
    if shutil.which("docker") is None:
        return Problem(Severity.WARN, "docker", "There is no docker on the PATH.", remedy)
    status, text = _probe(["docker", "version", "--format", "{{.Server.Version}}"])
    if status != 0:
        why = (text.splitlines() or ["no answer"])[-1]
        return Problem(Severity.WARN, "docker", f"The Docker engine does not answer: {why}", remedy)
    return Problem(Severity.PASS, "docker", f"Docker engine {text}")
