"""The places where the tasks of a plan run, each with a supervisor that starts them."""

from __future__ import annotations

import json
import selectors
from typing import Dict, List, Optional, Sequence

from jobs.remote.offload_runner.engine.containers import Containers
from jobs.remote.offload_runner.engine.link import SupervisorProcess
from jobs.remote.offload_runner.engine.step_commands import StepCommands
from jobs.remote.offload_runner.files import mounted
from jobs.remote.offload_runner.files.paths import (
    AGENT,
    BASE,
    JOB,
    PROOF,
    SECRET,
    SECRET_WRITES,
    JobPaths,
)
from jobs.remote.offload_runner.protocol import Task
from jobs.remote.offload_runner.wire import runner_argv

_CONTROL = "control"
# Whose containers are started with the plan, so that their starts overlap with its first tasks.
_STARTED_EARLY = {"base": BASE, "proof": PROOF}
# Who have the job's package caches.
_WITH_CACHES = {PROOF, SECRET_WRITES}
# Whose containers are started with their first task: nothing is in them before.
_STARTED_LATE = {AGENT, SECRET, SECRET_WRITES}


def is_step(task: Task) -> bool:
    """Tell whether a task is one of the runner's own steps; no command of a repository has an argv."""
    return task.argv is not None and "{runner}" in task.argv


def place_of(task: Task) -> str:
    """Return the place where the commands of a task run that is none of our own steps."""
    if task.terminal or task.gateway is not None:
        return AGENT
    if task.secrets:
        return SECRET_WRITES if task.writes else SECRET
    return JOB


class Places:
    """The supervisors of one plan. On a bare worker one of them serves every place."""

    def __init__(
        self, paths: JobPaths, containers: Optional[Containers], selector: selectors.BaseSelector
    ) -> None:
        self._paths = paths
        self._containers = containers
        self._selector = selector
        self._supervisors: Dict[str, SupervisorProcess] = {}
        self._step_commands: Optional[StepCommands] = None

    def start(self, tasks: Sequence[Task]) -> None:
        """Start what these tasks need at once, so that the starts overlap."""
        needed = {self._place_of(task) for task in tasks} - _STARTED_LATE
        if self._containers is not None:
            needed |= {_STARTED_EARLY[task.role] for task in tasks if task.role in _STARTED_EARLY}
        for place in sorted(needed):
            self.supervisor(place)
        if self._containers is not None and _CONTROL in self._supervisors:
            self._step_commands = StepCommands(self._paths, self.supervisor, self._selector)

    def of(self, task: Task) -> SupervisorProcess:
        """Return the supervisor of the place where a task runs."""
        return self.supervisor(self._place_of(task))

    def supervisor(self, place: str) -> SupervisorProcess:
        """Return the supervisor of a place, started when it is needed first."""
        if self._containers is None:
            place = JOB
        found = self._supervisors.get(place)
        if found is None:
            found = SupervisorProcess(self._argv(place), self._paths.supervisor_lock)
            found.watch(self._selector)
            self._supervisors[place] = found
        return found

    def lost(self) -> str:
        """Return what to say when the line to a supervisor was lost; "" while all are there."""
        for place, supervisor in self._supervisors.items():
            if supervisor.is_lost:
                where = "%s container" % place if self._containers else "supervisor of the job's tasks"
                return ("The line to the %s was lost: %s" % (where, supervisor.complaint)).rstrip(": ")
        return ""

    def close(self) -> None:
        """End the supervisors, all at once. Idempotent."""
        if self._step_commands is not None:
            self._step_commands.close()
            self._step_commands = None
        for supervisor in self._supervisors.values():
            supervisor.hang_up()
        for supervisor in self._supervisors.values():
            supervisor.close()
        self._supervisors = {}

    def _place_of(self, task: Task) -> str:
        # Our own steps run where git runs, out of the job's reach.
        if self._containers is not None and is_step(task):
            return _CONTROL
        return place_of(task)

    def _argv(self, place: str) -> List[str]:
        root, session = self._paths.root, self._paths.session
        if self._containers is None:
            return [*runner_argv(root), "supervise", "--session", session]
        if place == _CONTROL:
            return self._containers.in_control(root, ["supervise", "--session", session])
        argv = self._containers.supervisor(root, session, place)
        if place not in self._containers.runs:
            return argv
        # The code of jobs can write above them where all jobs share a container.
        at = self._paths.place(place)
        folders = [at.tree, at.home, *([at.cache] if place in _WITH_CACHES else [])]
        return [*argv, "--mounted", json.dumps(mounted.identities(folders))]
