"""Since when tasks may have changed what was installed and built in the head's tree: see `steps.restored`."""

from __future__ import annotations

import contextlib
from typing import Mapping

from jobs.remote.offload_runner.engine.places import is_step
from jobs.remote.offload_runner.files.paths import JobPaths, write_json
from jobs.remote.offload_runner.git import reset
from jobs.remote.offload_runner.protocol import RUNNING, TASK_FINAL, Plan, Task

NAME = "tree.json"


def note(paths: JobPaths, plan: Plan, states: Mapping[str, str], task: Task) -> None:
    """Write the mark when nothing installs or builds any more. Call it when a task starts or has ended."""
    path = paths.job_dir / NAME
    building = [one for one in plan.tasks if one.role in ("install", "build")]
    is_ready = all(states[one.id] in TASK_FINAL for one in building)
    if task in building and states[task.id] == RUNNING:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    elif is_ready and not is_step(task) and not path.exists():
        made = None  # of a tree that cannot be read: what needs the mark fails then
        with contextlib.suppress(OSError):
            made = reset.mark(paths.worktree, paths.job_dir)
        write_json(path, {"sha": plan.job.get("sha"), "made": made}, durable=False)
