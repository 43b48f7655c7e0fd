"""`stop`: end everything that runs for a job, look whether it is gone, and only then say so."""

from __future__ import annotations

import argparse
import signal
import time
from typing import Dict, Set

from jobs.remote.offload_runner import protocol, wire
from jobs.remote.offload_runner.commands import secrets
from jobs.remote.offload_runner.engine.environment import mark_of
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.engine.process import Ending, is_same, marked, signal_all
from jobs.remote.offload_runner.engine.run_lock import RunLock, holder, is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job, read_json, write_json
from jobs.remote.offload_runner.protocol import CANCELLED, EXIT_SOFTWARE, INTERRUPTED, RUNNING

_POLL_SECONDS = 0.02
# Beyond the grace: SIGKILL is looked after for five seconds, and the end is written.
_RUNNER_SECONDS = 7.0


def main(options: argparse.Namespace) -> int:
    """Answer `{"type": "stopped", "session", "was_running", "processes"}`."""
    paths = existing_job(options.root, options.session)
    was_running = stop(paths, options.grace)
    wire.emit(
        {
            "type": "stopped",
            "session": paths.session,
            "was_running": was_running,
            "processes": len(left(paths)),
        }
    )
    return 0


def left(paths: JobPaths) -> Set[int]:
    """Return the processes of the job's tasks that still run."""
    return marked(str(paths.tasks) + "/", prefix=True)


def stop(paths: JobPaths, grace: float) -> bool:
    """End the runner and all tasks; return whether a runner was at work.

    Raises `RunnerError` when something survives even SIGKILL.
    """
    was_running = is_held(paths.lock)
    secrets.drop(paths)
    try:
        write_json(paths.stop_request, {"at": wire.now(), "grace": grace})
    except OSError:
        # A full disk: the runner then ends as interrupted, and we write the rest.
        pass
    if was_running:
        _end_runner(paths, grace)
    lock = RunLock(paths.lock)
    if not lock.acquire(patience=2.0):
        raise RunnerError(
            "still_running",
            "Stopping %s failed: a runner (process %s) still holds its lock."
            % (paths.session, holder(paths.lock).get("pid", "?")),
            "If it runs inside a container, restart the container.",
            EXIT_SOFTWARE,
        )
    try:
        _end_tasks(paths, grace)
        _write_end(paths)
    finally:
        lock.release()
    try:
        paths.stop_request.unlink()
    except FileNotFoundError:
        pass
    return was_running


def _end_runner(paths: JobPaths, grace: float) -> None:
    known = holder(paths.lock)
    pid = known.get("pid")
    if not isinstance(pid, int) or not is_same(pid, str(known.get("identity", ""))):
        return
    signal_all({pid}, signal.SIGTERM)
    end = time.monotonic() + grace + _RUNNER_SECONDS
    while is_held(paths.lock) and is_same(pid, known["identity"]):
        if time.monotonic() > end:
            signal_all({pid}, signal.SIGKILL)
            return
        time.sleep(_POLL_SECONDS)


def _end_tasks(paths: JobPaths, grace: float) -> None:
    """End what a dead runner left behind."""
    status = read_json(paths.status) or {}
    for task in status.get("tasks", ()):
        if task.get("state") == RUNNING and isinstance(task.get("pid"), int):
            ours = is_same(task["pid"], str(task.get("identity", "")))
            Ending(task["pid"] if ours else 0, mark_of(paths, task["id"]), grace).wait()
    end = time.monotonic() + 5.0
    while left(paths):
        signal_all(left(paths), signal.SIGKILL)
        if time.monotonic() > end:
            raise RunnerError(
                "still_running",
                "Stopping %s failed: processes %s survive SIGKILL." % (paths.session, sorted(left(paths))),
                "They hang in the kernel (a dead network disk does this); restart the machine.",
                EXIT_SOFTWARE,
            )
        time.sleep(_POLL_SECONDS)


def _write_end(paths: JobPaths) -> None:
    """Write what the runner could not: its tasks and the job are cancelled."""
    journal = Journal(paths.journal)
    states: Dict[str, str] = {}
    ended = True
    for event in journal.read():
        if event["kind"] == protocol.STARTED:
            states = {task["id"]: states.get(task["id"], "") for task in event.get("tasks", ())} or states
            ended = False
        elif event["kind"] == protocol.TASK_STARTED:
            states[event["task"]] = RUNNING
        elif event["kind"] == protocol.TASK_FINISHED:
            states[event["task"]] = event["state"]
        elif event["kind"] == protocol.FINISHED:
            ended = True
    if ended:
        return
    for task, state in states.items():
        if state in ("", RUNNING, INTERRUPTED):
            journal.append(
                protocol.TASK_FINISHED,
                task=task, state=CANCELLED, exit_code=None, seconds=None, reason="cancelled", tail="",
            )  # fmt: skip
    journal.append(
        protocol.FINISHED, state=CANCELLED, reason="cancelled_by_user", detail="", verdict="", findings=[]
    )
    status = read_json(paths.status) or {"session": paths.session, "tasks": []}
    write_json(paths.status, {**status, "state": CANCELLED})
