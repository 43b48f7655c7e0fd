"""`stop`: end everything that runs for a job, look whether it is gone, and only then say so."""

from __future__ import annotations

import argparse
import signal
import subprocess
import time
from typing import Dict, Optional, Set

from jobs.remote.offload_runner import protocol, wire
from jobs.remote.offload_runner.commands import secrets
from jobs.remote.offload_runner.commands.supervise import EXIT_STILL_THERE
from jobs.remote.offload_runner.engine.containers import Containers
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.engine.process import identity, is_same, marked, signal_all
from jobs.remote.offload_runner.engine.run_lock import (
    RunLock,
    holder,
    holding_process,
    is_held,
    wait_until_free,
)
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job, read_json, write_json
from jobs.remote.offload_runner.protocol import CANCELLED, EXIT_SOFTWARE, INTERRUPTED, RUNNING
from jobs.remote.offload_runner.screen.tmux import Tmux, from_options

_POLL_SECONDS = 0.02
# Beyond the grace: SIGKILL is looked after for five seconds, and the end is written.
_RUNNER_SECONDS = 7.0
_IS_RUNNING = ("inspect", "--type", "container", "--format", "{{.State.Running}}")


def main(options: argparse.Namespace) -> int:
    """Answer `{"type": "stopped", "session", "was_running", "processes"}`."""
    paths = existing_job(options.root, options.session)
    was_running = stop(paths, options.grace, options.containers, from_options(options))
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
    """Return the processes of a bare worker's tasks that still run."""
    return marked(str(paths.tasks) + "/", prefix=True)


def stop(paths: JobPaths, grace: float, containers: Optional[Containers], tmux: Tmux) -> bool:
    """End the runner and all tasks; return whether a runner was at work.

    Raises `RunnerError` when something survives even SIGKILL, or when nothing can be said of it.
    """
    was_running = is_held(paths.lock)
    secrets.drop(paths)
    try:
        write_json(paths.stop_request, {"at": wire.now(), "grace": grace})
    except OSError:
        # A full disk: the runner then ends as interrupted, and we write the rest.
        pass
    if was_running and not _end_runner(paths, grace):
        # A runner of an earlier version, inside the container: it ends when its pane does.
        tmux.kill(paths.session)
    lock = RunLock(paths.lock)
    if not lock.acquire(patience=_RUNNER_SECONDS):
        raise RunnerError(
            "still_running",
            "Stopping %s failed: a runner (process %s) still holds its lock."
            % (paths.session, holder(paths.lock).get("pid", "?")),
            "If it runs inside a container, restart the container.",
            EXIT_SOFTWARE,
        )
    try:
        _end_tasks(paths, containers)
        _write_end(paths)
    finally:
        lock.release()
    try:
        paths.stop_request.unlink()
    except FileNotFoundError:
        pass
    return was_running


def _end_runner(paths: JobPaths, grace: float) -> bool:
    """End the runner; return whether it is a process of this machine."""
    pid = holding_process(paths.lock)
    known = identity(pid) if pid else ""
    if not known:
        return not is_held(paths.lock)
    signal_all({pid}, signal.SIGTERM)
    end = time.monotonic() + grace + _RUNNER_SECONDS
    while is_held(paths.lock) and is_same(pid, known):
        if time.monotonic() > end:
            signal_all({pid}, signal.SIGKILL)
            break
        time.sleep(_POLL_SECONDS)
    return True


def _end_tasks(paths: JobPaths, containers: Optional[Containers]) -> None:
    """See to it that what a dead runner left is ended: its supervisor does that when the runner is gone."""
    gone = wait_until_free(paths.supervisor_lock)
    if gone and containers is not None:
        containers.remove_others()
        gone = _sweep(paths, containers)
    end = time.monotonic() + 5.0
    while gone and containers is None and left(paths):
        signal_all(left(paths), signal.SIGKILL)
        gone = time.monotonic() <= end
        time.sleep(_POLL_SECONDS)
    if not gone:
        raise RunnerError(
            "still_running",
            "Stopping %s failed: processes of its tasks survive SIGKILL." % paths.session,
            "They hang in the kernel (a dead network disk does this); restart the machine.",
            EXIT_SOFTWARE,
        )


def _sweep(paths: JobPaths, containers: Containers) -> bool:
    """Return whether nothing of the job's tasks runs in its container, or the container is down."""
    argv = [*containers.supervisor(paths.root, paths.session), "--sweep"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode in (0, EXIT_STILL_THERE) and not done.stderr:
        return done.returncode == 0
    seen = subprocess.run(
        [
            *containers.engine,
            "inspect",
            "--type",
            "container",
            "--format",
            "{{.State.Running}}",
            containers.jobs,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    said = seen.stderr.lower()
    if seen.stdout.strip() == b"false" or b"no such" in said or b"no container with name" in said:
        return True
    raise RunnerError(
        "unknown",
        "Stopping %s failed: it is unknown whether its tasks still run: %s."
        % (paths.session, done.stderr.decode("utf-8", "replace").strip() or "the engine did not answer"),
        "Check the container engine on the worker, and repeat.",
    )


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
