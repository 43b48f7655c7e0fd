"""`run`: what runs inside the tmux pane of a job."""

from __future__ import annotations

import argparse
import selectors
import signal
import sys

from jobs.remote.offload_runner import protocol, wire
from jobs.remote.offload_runner.commands import secrets
from jobs.remote.offload_runner.engine import schedule
from jobs.remote.offload_runner.engine.environment import placeholders
from jobs.remote.offload_runner.engine.execute import Engine
from jobs.remote.offload_runner.engine.run_lock import RunLock, holder
from jobs.remote.offload_runner.engine.signals import Signals
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job, read_json
from jobs.remote.offload_runner.protocol import (
    CANCELLED,
    EXIT_DATA,
    EXIT_LOCKED,
    INTERRUPTED,
    PENDING,
    Plan,
    load_plan,
)
from jobs.remote.offload_runner.screen.lines import Display
from jobs.remote.offload_runner.screen.pane import Pane

EXIT_JOB_FAILED = 1
_TICK_SECONDS = 0.25
_ENDING_TICK_SECONDS = 0.03
# A hang-up comes from a session that is being killed: there is little time.
_HANGUP_GRACE_SECONDS = 2.0


def read_plan(paths: JobPaths) -> Plan:
    """Return the job's plan. Raises `RunnerError` when there is none or it is broken."""
    try:
        return load_plan(read_json(paths.plan))
    except (protocol.PlanError, TypeError) as error:
        raise RunnerError(
            "bad_plan", "The plan %s was refused: %s." % (paths.plan, error), "", EXIT_DATA
        ) from None


def main(options: argparse.Namespace) -> int:
    """Work through the plan; afterwards, on a terminal, stay with the summary.

    Exits 75 when a runner is at work already, 1 when the job failed, else 0.
    """
    paths = existing_job(options.root, options.session)
    plan = read_plan(paths)
    lock = RunLock(paths.lock)
    if not lock.acquire():
        raise RunnerError(
            "already_running",
            "A runner (process %s) is at work for %s already."
            % (holder(paths.lock).get("pid", "?"), paths.session),
            "Attach to its session instead.",
            EXIT_LOCKED,
        )
    signals = Signals()
    values = placeholders(paths, wire.runner_path(), sys.executable)
    display: Display = Pane() if sys.stdin.isatty() and sys.stdout.isatty() else Display()
    engine = Engine(paths, plan, values, display.changed, options.containers)
    engine.load()
    engine.secrets = secrets.take(paths, secrets.RUN)
    try:
        display.open(engine)
        if engine.finished is None or options.retry:
            _work(engine, signals, display, options)
        engine.close()
        lock.release()
        return display.stay(signals)
    finally:
        engine.close()
        display.close()
        lock.release()


def _work(engine: Engine, signals: Signals, display: Display, options: argparse.Namespace) -> None:
    stop_request = engine.paths.stop_request
    if stop_request.exists():
        stop_request.unlink()
    states = {name: view.state for name, view in engine.views.items()}
    resumed = schedule.resumed_states(engine.plan, states, options.retry)
    secrets.check(engine.plan, [n for n, state in resumed.items() if state == PENDING], engine.secrets)
    engine.begin(options.retry)
    engine.selector.register(signals.reader, selectors.EVENT_READ, signals.drain)
    display.watch(engine.selector)
    while True:
        engine.step()
        if engine.over:
            return
        display.draw()
        ending = any(task.is_ending for task in engine.running.values())
        for key, _ in engine.selector.select(_ENDING_TICK_SECONDS if ending else _TICK_SECONDS):
            key.data()
        for number in signals.take():
            if number in Signals.ENDING and not (number == signal.SIGINT and display.has_child):
                _end(engine, number)
            elif number == signal.SIGWINCH:
                display.changed()


def _end(engine: Engine, number: int) -> None:
    request = read_json(engine.paths.stop_request)
    if request is not None:
        engine.end_all(CANCELLED, float(request.get("grace", 5.0)))
        return
    name = signal.Signals(number).name
    try:
        engine.journal.append(
            protocol.NOTE,
            text="The runner was told to end by %s; it goes on when it is started again." % name,
        )
    except OSError:
        pass
    engine.end_all(INTERRUPTED, _HANGUP_GRACE_SECONDS)
