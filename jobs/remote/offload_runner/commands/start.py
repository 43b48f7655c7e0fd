"""`start`: a plan in a tmux session. Two equal calls at once give one session."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import time
from typing import Any, Dict, List

from jobs.remote.offload_runner import protocol, wire
from jobs.remote.offload_runner.engine.containers import Containers
from jobs.remote.offload_runner.engine.environment import harmless
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.locks import held
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job, job_paths, write_atomically
from jobs.remote.offload_runner.protocol import EXIT_DATA, SUCCEEDED, load_plan
from jobs.remote.offload_runner.screen.tmux import Tmux, from_options

_START_SECONDS = 30.0
_LETTING_GO_SECONDS = 8.0
_POLL_SECONDS = 0.02
# How often tmux is asked whether a runner that has not begun yet died: each time is a process.
_TMUX_SECONDS = 0.5
_TURNS = (protocol.STARTED, protocol.FINISHED)


def main(options: argparse.Namespace) -> int:
    """Answer `{"type": "started", "session", "created", "events"}`: the journal after event `since`."""
    spec = wire.read_spec()
    paths = existing_job(options.root, str(spec.get("session", "")))
    options.containers = Containers.parse(str(spec.get("containers") or "")) or options.containers
    tmux = from_options(options)
    with held(str(paths.job_dir / "start.lock"), what="The job %s" % paths.session, seconds=60):
        _keep_plan(paths, spec.get("plan"))
        tmux.write_config()
        created = _start(options, paths, tmux, spec, recorder(options, paths.session))
    since = int(spec.get("since") or 0)
    events = [event for event in Journal(paths.journal).read() if event["seq"] > since]
    wire.emit({"type": "started", "session": paths.session, "created": created, "events": events})
    return 0


def recorder(options: argparse.Namespace, session: str) -> str:
    """Return the shell command that records a pane: this runner, on the host."""
    words = [*wire.runner_argv(options.root), "--tmux", options.tmux]
    # tmux expands formats in this command; ours has none.
    if options.tmux_socket:
        words += ["--tmux-socket", options.tmux_socket]
    return "exec " + " ".join(shlex.quote(word) for word in [*words, "record", "--session", session])


def default_command(options: argparse.Namespace, session: str) -> List[str]:
    """Return the command of the pane when the request names none: this runner, here."""
    words = wire.runner_argv(options.root)
    if options.containers is not None:
        file = job_paths(options.root, session).job_dir / "containers.json"
        write_atomically(file, options.containers.to_json() + "\n")
        words += ["--containers", "@%s" % file]
    return [*words, "run", "--session", session]


def _keep_plan(paths: JobPaths, plan: Any) -> None:
    """Write the plan unless there is one: a job keeps the plan that it began with."""
    if paths.plan.exists():
        return
    try:
        load_plan(plan)
    except (protocol.PlanError, TypeError) as error:
        raise RunnerError("bad_plan", "The plan was refused: %s." % error, "", EXIT_DATA) from None
    write_atomically(paths.plan, json.dumps(plan, indent=1, sort_keys=True) + "\n")


def _start(options: argparse.Namespace, paths: JobPaths, tmux: Tmux, spec: Dict[str, Any], pipe: str) -> bool:
    if _is_at_work(paths):
        return False
    argv = [str(word) for word in spec.get("command") or default_command(options, paths.session)]
    env = harmless({str(name): str(value) for name, value in (spec.get("env") or {}).items()})
    env["PATH"] = os.environ.get("PATH", os.defpath)
    cwd = str(spec.get("cwd") or paths.worktree) if options.containers is None else str(paths.job_dir)
    events = Journal(paths.journal).read()
    turns = [event for event in events if event["kind"] in _TURNS]
    ended = turns[-1]["state"] if turns and turns[-1]["kind"] == protocol.FINISHED else ""
    if ended and ended != SUCCEEDED:
        # The job ended, and another start was asked for: what failed or was cancelled runs again.
        argv = [*argv, "--retry"]
    session = tmux.sessions().get(paths.session)
    if session is None:
        if not tmux.new_session(paths.session, cwd, env, argv, pipe):
            return False
    elif session.dead:
        tmux.respawn(paths.session, cwd, env, argv, pipe)
    elif ended == SUCCEEDED:
        return False
    else:
        # A user may be reading the summary or working in a shell: that window stays.
        tmux.new_window(paths.session, cwd, env, argv, pipe)
    if ended != SUCCEEDED:
        _wait_for_runner(paths, tmux, len(events))
    return True


def _is_at_work(paths: JobPaths) -> bool:
    """Tell whether a runner is at work; one that wrote its end is about to let go and is waited for."""
    end = time.monotonic() + _LETTING_GO_SECONDS
    while is_held(paths.lock):
        turns = [event["kind"] for event in Journal(paths.journal).read() if event["kind"] in _TURNS]
        ended = bool(turns) and turns[-1] == protocol.FINISHED
        if not ended or time.monotonic() > end:
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _wait_for_runner(paths: JobPaths, tmux: Tmux, known: int) -> None:
    """Return when the runner has written that it started. Raises `RunnerError` when it died before."""
    end = time.monotonic() + _START_SECONDS
    next_look = time.monotonic() + _TMUX_SECONDS
    while len(Journal(paths.journal).read()) == known:
        time.sleep(_POLL_SECONDS)
        if time.monotonic() < next_look:
            continue
        next_look = time.monotonic() + _TMUX_SECONDS
        session = tmux.sessions().get(paths.session)
        # It may have begun, and even ended, since the journal was read.
        begun = len(Journal(paths.journal).read()) != known
        if not begun and (session is None or session.dead or time.monotonic() > end):
            said = (tmux.capture(paths.session, 0) or "").strip()
            raise RunnerError(
                "runner_died",
                "The runner of %s did not start in its tmux session." % paths.session,
                "It said: %s" % said if said else "The session is gone.",
            )
