"""Where a runner's tasks and git run: here, or in a job container and a control container of an engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.protocol import EXIT_USAGE, ISOLATED

# In a container the interpreter is the image's, whatever the host calls its own.
PYTHON = "python3"


@dataclass(frozen=True)
class Containers:
    """The engine's command line, the container of a job's tasks, and the one of git and our own steps."""

    engine: List[str]
    jobs: str
    control: str

    @classmethod
    def parse(cls, text: str) -> "Optional[Containers]":
        """Return what the option `--containers` says; None for an empty one. Raises `RunnerError`."""
        if not text:
            return None
        try:
            data = json.loads(text)
            return cls([str(word) for word in data["engine"]], str(data["jobs"]), str(data["control"]))
        except (ValueError, TypeError, KeyError):
            raise RunnerError(
                "usage", "The option --containers is not as expected.", "", EXIT_USAGE
            ) from None

    def to_json(self) -> str:
        """Return the value of the option `--containers`."""
        return json.dumps({"engine": self.engine, "jobs": self.jobs, "control": self.control})

    def in_control(self, root: Path, words: Sequence[str]) -> List[str]:
        """Return the command that runs the runner's `words` in the control container."""
        return [*self.engine, "exec", "-i", self.control, *_runner(root), *words]

    def supervisor(self, root: Path, session: str) -> List[str]:
        """Return the command of the supervisor in the job container, as user 0."""
        words = ["supervise", "--session", session, "--in-container"]
        return [*self.engine, "exec", "-i", "-u", "0", self.jobs, *_runner(root), *words]


def _runner(root: Path) -> List[str]:
    return [PYTHON, *ISOLATED, wire.runner_path(), "--root", str(root)]
