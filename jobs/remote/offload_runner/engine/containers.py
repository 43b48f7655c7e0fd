"""Where a runner's tasks and git run: here, or in containers of an engine."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JOB, read_json
from jobs.remote.offload_runner.protocol import EXIT_USAGE, ISOLATED

# In a container the interpreter is the image's, whatever the host calls its own.
PYTHON = "python3"
_REMOVAL_SECONDS = 15.0
_POLL_SECONDS = 0.05
_BEING_REMOVED = "is already in progress"


@dataclass(frozen=True)
class Containers:
    """The engine's command line and the containers of a job.

    The job's tasks run in `jobs`, git and our own steps in `control`; both are there already. Every other
    place (`base`, `agent`, ...) is a container that lives as long as its supervisor: `others` has their
    names, and `runs` the engine's words that start them, up to the arguments of the interpreter.
    """

    engine: List[str]
    jobs: str
    control: str
    others: Dict[str, str] = field(default_factory=dict)
    runs: Dict[str, List[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Optional[Containers]":
        """Return what the option `--containers` says; None for an empty one. Raises `RunnerError`.

        `@PATH` names a file of ours that has it: tmux takes no command of more than 16 kB.
        """
        if not text:
            return None
        try:
            data = read_json(Path(text[1:])) if text.startswith("@") else json.loads(text)
            return cls(
                _words(data["engine"]),
                str(data["jobs"]),
                str(data["control"]),
                {str(place): str(name) for place, name in data.get("others", {}).items()},
                {str(place): _words(run) for place, run in data.get("runs", {}).items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise RunnerError(
                "usage", "The option --containers is not as expected.", "", EXIT_USAGE
            ) from None

    def to_json(self) -> str:
        """Return the value of the option `--containers`."""
        return json.dumps(asdict(self))

    def in_control(self, root: Path, words: Sequence[str]) -> List[str]:
        """Return the command that runs the runner's `words` in the control container."""
        return [*self.engine, "exec", "-i", self.control, *_runner(root), *words]

    def supervisor(self, root: Path, session: str, place: str = JOB) -> List[str]:
        """Return the command of the supervisor of a place, as user 0 of its container."""
        words = ["supervise", "--session", session, "--in-container"]
        if place in self.runs:
            return [*self.engine, *self.runs[place], *_runner(root)[1:], *words]
        if place != JOB:
            raise RunnerError(
                "no_place",
                "It is unknown how to start the container of the place %r of %s." % (place, session),
                "Start the job again.",
            )
        return [*self.engine, "exec", "-i", "-u", "0", self.jobs, *_runner(root), *words]

    def remove_others(self) -> None:
        """End the containers that a dead runner may have left. Raises `RunnerError` when one may be left."""
        if not self.others:
            return
        names = sorted(self.others.values())
        argv = [*self.engine, "rm", "--force", *names]
        end = time.monotonic() + _REMOVAL_SECONDS
        while True:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
            unknown = [line for line in lines if not _is_absent(line)]
            if done.returncode == 0 or not unknown:
                return
            if time.monotonic() > end or not all(_BEING_REMOVED in line for line in unknown):
                raise RunnerError(
                    "unknown",
                    "It is unknown whether %s are gone: %s" % (", ".join(names), unknown[-1].strip()),
                    "Check the container engine on the worker, and repeat.",
                )
            time.sleep(_POLL_SECONDS)


def _is_absent(line: str) -> bool:
    told = line.lower()
    return "no such container" in told or "no container with" in told


def _words(data: Sequence[object]) -> List[str]:
    return [str(word) for word in data]


def _runner(root: Path) -> List[str]:
    return [PYTHON, *ISOLATED, wire.runner_path(), "--root", str(root)]
