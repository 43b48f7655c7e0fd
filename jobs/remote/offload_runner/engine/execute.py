"""The interpreter of plans: starts what is ready, ends what is late, and writes down what happened.

The journal and the exit files say what is finished. At whatever point a runner is killed, the next one
reads them and goes on at the first unfinished task.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import time
from datetime import datetime
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from jobs.remote.offload_runner import protocol
from jobs.remote.offload_runner.engine import ports, schedule, tree_mark
from jobs.remote.offload_runner.engine.agent_reports import AgentReports
from jobs.remote.offload_runner.engine.agent_screen import AgentScreen
from jobs.remote.offload_runner.engine.containers import PYTHON, Containers
from jobs.remote.offload_runner.engine.environment import step_environment, task_environment
from jobs.remote.offload_runner.engine.gateways import Gateways
from jobs.remote.offload_runner.engine.journal import Journal, bounded_findings
from jobs.remote.offload_runner.engine.places import Places, is_step, place_of
from jobs.remote.offload_runner.engine.process import identity, marked, signal_all
from jobs.remote.offload_runner.engine.run_lock import wait_until_free
from jobs.remote.offload_runner.engine.task import GRACE_SECONDS, RunningTask, TaskView
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import (
    JOB,
    JobPaths,
    give_away,
    is_folder,
    read_json,
    write_json,
)
from jobs.remote.offload_runner.files.removal import empty_tree
from jobs.remote.offload_runner.git import unsaved
from jobs.remote.offload_runner.protocol import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    ISOLATED,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    Plan,
    Task,
)
from jobs.remote.offload_runner.wire import now, runner_path

HEARTBEAT_SECONDS = 5.0
RESERVE_BYTES = 64 * 1024
NO_SPACE = "no_space"
_SURVEY_SECONDS = 60.0
_SURVEY_BYTES = 16 * 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Engine:
    """Works through one plan. `step` never blocks; `selector` says when to call it again."""

    def __init__(
        self,
        paths: JobPaths,
        plan: Plan,
        values: Mapping[str, str],
        changed: Callable[[], None],
        containers: Optional[Containers] = None,
    ) -> None:
        self.paths = paths
        self.containers = containers
        self.plan = plan
        self.views = {task.id: TaskView(task) for task in plan.tasks}
        self.running: Dict[str, RunningTask] = {}
        self.selector = selectors.DefaultSelector()
        self.journal = Journal(paths.journal, self._make_room)
        self.finished: Optional[Dict[str, Any]] = None
        self.over = False
        self.attempt = 0
        self.began = time.monotonic()
        self.disk_full = False
        self.secrets: Dict[str, str] = {}  # by name; each task gets those that it names
        self._reports = AgentReports(paths, self.journal.append)
        self._screens: Dict[str, AgentScreen] = {}
        self.places = Places(paths, containers, self.selector)
        self._gateways = Gateways(self.places, self.journal.append)
        self._values = {**values, "python": PYTHON} if containers else values
        self._changed = changed
        self._ending_as = ""
        self._next_heartbeat = 0.0
        self._parallel = plan.parallel or os.cpu_count() or 1

    # Beginning

    def load(self) -> None:
        """Read what earlier runners came to."""
        for event in self.journal.read():
            self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["kind"]
        if kind == protocol.STARTED:
            self.attempt = int(event.get("attempt", self.attempt + 1))
            self.finished = None
        elif kind == protocol.FINISHED:
            self.finished = dict(event)
        elif kind == protocol.MODEL_CALL:
            self._gateways.spent.add(event)
        view = self.views.get(str(event.get("task", "")))
        if view is None:
            return
        if kind == protocol.TASK_STARTED:
            view.state, view.exit_code, view.seconds, view.reason, view.tail = RUNNING, None, None, "", ""
        elif kind == protocol.TASK_FINISHED:
            view.state = event["state"]
            view.exit_code, view.seconds = event.get("exit_code"), event.get("seconds")
            view.reason, view.tail = event.get("reason") or "", event.get("tail") or ""

    def begin(self, retry: bool = False) -> None:
        """Clear up after a killed runner, and write that this one starts."""
        self.paths.tasks.mkdir(parents=True, exist_ok=True)
        give_away(self.paths.tasks)
        if self.containers is None:
            for folder in (self.paths.home, self.paths.tmp, self.paths.caches):
                folder.mkdir(parents=True, exist_ok=True)
        self._keep_reserve()
        self._end_leftovers()
        self._adopt_exits()
        states = {name: view.state for name, view in self.views.items()}
        for name, state in schedule.resumed_states(self.plan, states, retry).items():
            if state == PENDING:
                self.views[name] = TaskView(self.views[name].task)
        ports.of_job(self.paths, self.plan.ports)
        self.places.start([v.task for v in self.views.values() if v.state not in protocol.TASK_FINAL])
        self.journal.append(
            protocol.STARTED,
            attempt=self.attempt + 1,
            pid=os.getpid(),
            resumed=self.attempt > 0,
            tasks=[self._described(task) for task in self.plan.tasks],
        )
        self.attempt += 1
        self.finished = None
        self.began = time.monotonic()
        self._beat(RUNNING)

    def _described(self, task: Task) -> Dict[str, Any]:
        command = task.shell if task.shell is not None else " ".join(task.argv or [])
        shown = protocol.expand(
            command, {**{n: "{%s}" % n for n in protocol.PLACEHOLDERS}, "python": "python3"}
        )
        return {
            "id": task.id,
            "name": task.name,
            "role": task.role,
            "command": str(task.outputs.get("shown", shown)),
            "needs": task.needs,
            "timeout": task.timeout,
            "state": self.views[task.id].state,
        }

    def _end_leftovers(self) -> None:
        """Wait until the supervisors of a killed runner have ended its tasks."""
        if not wait_until_free(self.paths.supervisor_lock):
            raise RunnerError(
                "still_running",
                "Tasks of an earlier start of %s are still being ended." % self.paths.session,
                "Start it again in a moment, or cancel it.",
            )
        if self.containers is not None:
            if self.attempt:
                self.containers.remove_others()
        else:
            signal_all(marked(str(self.paths.tasks) + "/", prefix=True), 9)

    def close(self) -> None:
        """End the supervisors. Idempotent."""
        self._gateways.close_all()
        self.places.close()

    def _check_supervisors(self) -> None:
        lost = self.places.lost() if not self._ending_as else ""
        if lost:
            self.journal.append(protocol.NOTE, text=lost)
            self.end_all(INTERRUPTED)

    def _adopt_exits(self) -> None:
        """Finish tasks whose runner was killed after the exit file and before the journal."""
        for name, view in self.views.items():
            if view.state != RUNNING:
                continue
            try:
                path = self.paths.exit(name)
                code = int(path.read_text())
                ended = path.stat().st_mtime
            except (OSError, ValueError):
                continue
            began = [
                e for e in self.journal.read() if e["kind"] == protocol.TASK_STARTED and e["task"] == name
            ]
            at = (
                datetime.fromisoformat(began[-1]["at"].replace("Z", "+00:00")).timestamp() if began else ended
            )
            self._record(view, SUCCEEDED if code == 0 else FAILED, code, max(0.0, ended - at), "", "")

    # Working

    def step(self) -> None:
        """Do everything that can be done now."""
        if self.over:
            return
        try:
            self._step()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._give_up_full()
        if time.monotonic() >= self._next_heartbeat:
            self._beat(RUNNING)

    def _step(self) -> None:
        for running in list(self.running.values()):
            if running.step():
                self._finish_task(running)
            elif running.failure is not None:
                failure, running.failure = running.failure, None
                raise failure
            elif running.task.id in self._screens:
                self._screens[running.task.id].step()
            elif running.task.agent:
                self._reports.read(running.task.id)
        self._check_supervisors()
        if self._ending_as:
            if not self.running:
                self._conclude_early()
            return
        skipped = self._next_skipped()
        while skipped is not None:
            self._record(self.views[skipped[0].id], SKIPPED, None, None, skipped[1], "")
            skipped = self._next_skipped()
        for task in schedule.next_tasks(self.plan, self._states(), self._parallel - len(self.running)):
            self._start_task(task)
        if not self.running and all(v.state in protocol.TASK_FINAL for v in self.views.values()):
            self._conclude(schedule.outcome(self.plan, self._states()))

    def _next_skipped(self) -> Optional[Tuple[Task, str]]:
        """Return a task that does not run, and why; None when there is none."""
        states = self._states()
        task = schedule.next_skipped(self.plan, states)
        if task is not None:
            return task, schedule.skip_reason(task, self.plan, states)
        for task in self.plan.tasks:
            if task.gate and states[task.id] == PENDING and schedule.decide(task, states) == schedule.READY:
                found = read_json(self.paths.job_dir / (task.gate + ".json"))
                if not isinstance(found, dict) or found.get("go_on") is not True:
                    why = found.get("why") if isinstance(found, dict) else ""
                    return task, str(why or "nothing says that it is needed")
        return None

    @property
    def screen(self) -> Optional[AgentScreen]:
        """Return the agent that has the pane to itself, if one has."""
        return next(iter(self._screens.values()), None)

    def _states(self) -> Dict[str, str]:
        return {name: view.state for name, view in self.views.items()}

    def _start_task(self, task: Task) -> None:
        view = self.views[task.id]
        view.state, view.exit_code, view.seconds, view.reason, view.tail = RUNNING, None, None, "", ""
        self.journal.append(protocol.TASK_STARTED, task=task.id)
        contained = self.containers is not None
        if is_step(task):
            env = step_environment(self.paths, task, self._values, in_container=contained)
        else:
            place = place_of(task)
            env = task_environment(self.paths, task, self._values, in_container=contained, place=place)
        if task.gateway is not None:
            env.update(self._gateways.open(task.id, task.gateway, self.secrets))
        if task.agent:
            self._reports.begin()
        tree_mark.note(self.paths, self.plan, self._states(), task)
        link = self.places.of(task)
        if task.terminal:
            screen = AgentScreen(self.paths, task, self._values, env, link, self.secrets, self.journal.append)
            self._screens[task.id], self.running[task.id] = screen, screen.task
        else:
            self.running[task.id] = RunningTask(
                self.paths, task, self._values, env, link, self.secrets, self._changed
            )
        self._beat(RUNNING)
        self._changed()

    def _finish_task(self, running: RunningTask) -> None:
        del self.running[running.task.id]
        self._gateways.close(running.task.id)
        seconds = running.seconds
        reason = running.reason
        cut_off = reason in (CANCELLED, INTERRUPTED)
        try:
            if running.failure is not None:
                raise running.failure
            running.finish(keep_exit=not cut_off)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._give_up_full()
            reason = reason or NO_SPACE
        ended = SUCCEEDED if running.exit_code == 0 and not reason else FAILED
        state = reason if cut_off else ended
        if running.task.id in self._screens:
            self._screens.pop(running.task.id).step(is_last=True)
        elif running.task.agent:
            self._reports.read(running.task.id, is_last=True)
        tail = running.log.tail() if state == FAILED else ""
        self._record(self.views[running.task.id], state, running.exit_code, seconds, reason, tail)
        self._beat(RUNNING)
        if self.running and not cut_off:
            tree_mark.note(self.paths, self.plan, self._states(), running.task)
        if state == INTERRUPTED:
            self._check_supervisors()  # the journal says why
            self.end_all(INTERRUPTED)

    def _record(
        self,
        view: TaskView,
        state: str,
        code: Optional[int],
        seconds: Optional[float],
        reason: str,
        tail: str,
    ) -> None:
        rounded = None if seconds is None else round(seconds, 3)
        self.journal.append(
            protocol.TASK_FINISHED,
            task=view.task.id,
            state=state,
            exit_code=code,
            seconds=rounded,
            reason=reason,
            tail=tail,
        )
        view.state, view.exit_code, view.seconds = state, code, rounded
        view.reason, view.tail = reason, tail
        self._changed()

    # Ending

    def end_all(self, state: str, grace: float = GRACE_SECONDS) -> None:
        """End every task now; the job is then `cancelled`, `interrupted`, or `failed` (the disk is full)."""
        if self._ending_as:
            return
        self._ending_as = state
        for running in self.running.values():
            running.end(NO_SPACE if state == FAILED else state, grace)

    def _conclude_early(self) -> None:
        state = self._ending_as
        if state == INTERRUPTED:
            self.over = True
            self._beat(INTERRUPTED)
            return
        for view in self.views.values():
            if view.state == PENDING:
                left = CANCELLED if state == CANCELLED else SKIPPED
                self._record(view, left, None, None, "" if state == CANCELLED else NO_SPACE, "")
        self._conclude(state)

    def _conclude(self, state: str) -> None:
        self._note_artefacts()
        found = read_json(self.paths.verdict)
        verdict = found if isinstance(found, dict) else {}
        reason, detail = "finished", ""
        if state == CANCELLED:
            verdict, reason = {}, "cancelled_by_user"
        elif self.disk_full:
            verdict, reason = {}, "task_failed"
            detail = (
                "The disk of the worker is full: the tasks were ended. Free some space and start it again."
            )
        elif state == FAILED:
            reason = "task_failed"
            failed = [v.task.name for v in self.views.values() if v.state == FAILED and not v.task.evidence]
            detail = "Failed: %s." % ", ".join(failed)
        self.finished = self.journal.append(
            protocol.FINISHED,
            state=state,
            reason=reason,
            detail=detail,
            verdict=verdict.get("verdict") or "",
            judged_sha=verdict.get("judged_sha") or "",
            proof=verdict.get("proof"),
            findings=bounded_findings(verdict.get("findings") or []),
        )
        self._beat(state)
        self.over = True
        self._changed()

    def _note_artefacts(self) -> None:
        """Remember what the tasks left in the worktree: it is not the user's work."""
        try:
            seen = None
            if self.containers is not None and not unsaved.keeps_everything(self.paths):
                seen = self._survey()
            unsaved.snapshot(self.paths.root, self.paths.session, seen)
        except RunnerError as error:
            self.journal.append(protocol.NOTE, text=error.message)
        except OSError as error:
            # Without the list every file counts as the user's, which loses nothing.
            self.journal.append(protocol.NOTE, text="Listing what the tasks left failed: %s." % error)

    def _survey(self) -> Dict[str, Any]:
        """Return what is in the worktree, as the job's side of the boundary tells it."""
        argv = [PYTHON, *ISOLATED, runner_path(), "--root", str(self.paths.root)]
        argv += ["unsaved", "list", "--session", self.paths.session]
        env = {"HOME": str(self.paths.home)}
        link = self.places.supervisor(JOB)
        code, said = link.call(argv, str(self.paths.root), env, _SURVEY_SECONDS, _SURVEY_BYTES)
        try:
            return unsaved.checked(json.loads(said) if code == 0 else None)
        except (ValueError, RecursionError):
            return unsaved.checked(None)

    def _give_up_full(self) -> None:
        if self._ending_as and self.disk_full:
            # Not even the end could be written, although the reserve and the scratch files were given up.
            if not self.running:
                self.over = True
            with contextlib.suppress(RunnerError, OSError):
                if is_folder(self.paths.home):
                    empty_tree(self.paths.tmp)
            return
        self.disk_full = True
        self._make_room()
        self.end_all(FAILED)

    # The state of things, on disk

    def _keep_reserve(self) -> None:
        if not self.paths.reserve.exists():
            self.paths.reserve.write_bytes(b"\0" * RESERVE_BYTES)

    def _make_room(self) -> None:
        self.disk_full = True
        try:
            self.paths.reserve.unlink()
        except FileNotFoundError:
            pass

    def _beat(self, state: str) -> None:
        self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
        tasks: List[Dict[str, Any]] = []
        for name, view in self.views.items():
            item: Dict[str, Any] = {"id": name, "state": view.state, "exit_code": view.exit_code}
            item["seconds"] = view.seconds
            running = self.running.get(name)
            if running is not None:
                item.update(seconds=round(running.seconds, 3))
            tasks.append(item)
        status = {
            "session": self.paths.session,
            "state": state,
            "pid": os.getpid(),
            "identity": identity(os.getpid()),
            "attempt": self.attempt,
            "heartbeat": now(),
            "tasks": tasks,
        }
        if self.finished is not None:
            status["verdict"] = self.finished.get("verdict", "")
        try:
            write_json(self.paths.status, status, durable=False)  # every few seconds, and old by then
        except OSError as error:
            if error.errno not in _FULL:
                raise
