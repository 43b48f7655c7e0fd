"""What is on record about a job: the files that steps read and write."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

from jobs.remote.offload_runner.engine.environment import STEP_SOCKET
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import paths
from jobs.remote.offload_runner.files.paths import JobPaths
from jobs.remote.offload_runner.git.command import Git, raw
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND


@dataclass(frozen=True)
class Job:
    """A prepared job. `prepared` is the answer of prepare, `plan` the plan (empty before the start)."""

    paths: JobPaths
    prepared: Dict[str, Any]
    plan: Dict[str, Any]

    @classmethod
    def load(cls, job: JobPaths) -> "Job":
        """Read a job's record. Raises `RunnerError` when it was never prepared."""
        prepared = paths.read_json(job.prepared)
        if not isinstance(prepared, dict) or "sha" not in prepared:
            raise RunnerError(
                "not_prepared", "The job %s was never prepared." % job.session, exit_code=EXIT_NOT_FOUND
            )
        plan = paths.read_json(job.plan)
        return cls(job, prepared, plan if isinstance(plan, dict) else {})

    @property
    def sha(self) -> str:
        """Return the commit that the job is about."""
        return str(self.prepared["sha"])

    @property
    def base_sha(self) -> str:
        """Return the tip of the base when the job was prepared; "" without a base."""
        return str(self.prepared.get("base_sha") or "")

    @property
    def merge_base(self) -> str:
        """Return the commit that the change starts from; "" without a base."""
        return str(self.prepared.get("merge_base") or "")

    @property
    def base_name(self) -> str:
        """Return the base as people call it."""
        name = str(self.prepared.get("base_ref") or "")
        return name[len("refs/heads/") :] if name.startswith("refs/heads/") else name

    @property
    def changed(self) -> List[Dict[str, Any]]:
        """Return the changed files."""
        return list((self.prepared.get("facts") or {}).get("changed") or [])

    @property
    def is_isolated(self) -> bool:
        """Tell whether the job's code runs in a container, out of reach of what is on record here."""
        return bool(os.environ.get(STEP_SOCKET))

    @property
    def agent_secrets(self) -> List[str]:
        """Return the names of the secrets that the job's agent holds itself, not its gateway."""
        agents = [task for task in self.plan["tasks"] if task.get("agent")]
        return sorted({name for task in agents for name in task.get("secrets") or ()})

    @property
    def tasks_with_secrets(self) -> Dict[str, List[str]]:
        """Return the names of the secrets that tasks other than the agent's are given, by task."""
        tasks = [task for task in self.plan["tasks"] if task.get("secrets") and not task.get("agent")]
        return {str(task["id"]): sorted(task["secrets"]) for task in tasks}

    @property
    def git_path(self) -> Path:
        """Return the mirror."""
        return paths.mirror(self.paths.root, str(self.prepared["repository"]))

    @property
    def git(self) -> Git:
        """Return git in the mirror, which stays what it is whatever happens in the worktree."""
        return Git(str(self.git_path))

    def read(self, name: str) -> Any:
        """Return the data of a JSON file in the job's directory, None when there is none."""
        return paths.read_json(self.paths.job_dir / name)

    def write(self, name: str, data: Any) -> None:
        """Write a JSON file in the job's directory."""
        paths.write_json(self.paths.job_dir / name, data)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in the job's directory."""
        paths.write_atomically(self.paths.job_dir / name, text)


def say(text: str = "") -> None:
    """Print a line of the task's log, whatever is in it."""
    sys.stdout.flush()
    sys.stdout.buffer.write(raw(text) + b"\n")
    sys.stdout.buffer.flush()


def counted(number: int, noun: str) -> str:
    """Return "1 file", "2 files"."""
    return "%d %s%s" % (number, noun, "" if number == 1 else "s")
