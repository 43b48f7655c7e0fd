"""`shell`: a side shell inside the container, which ends when its pane on the host does."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess

from jobs.remote.offload_runner.engine.process import Ending
from jobs.remote.offload_runner.engine.run_lock import HungUp
from jobs.remote.offload_runner.files.paths import existing_job

_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 2.0


def main(options: argparse.Namespace) -> int:
    """Run a shell in the worktree; return its exit status."""
    paths = existing_job(options.root, options.session)
    hung_up = HungUp(paths, inside=True, name="side")
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    shell = os.environ.get("SHELL") or "/bin/sh"
    env = {**os.environ, "HOME": str(paths.home)}
    cwd = paths.worktree if paths.worktree.is_dir() else paths.root
    child = subprocess.Popen([shell], cwd=str(cwd), env=env, preexec_fn=_hear)
    while True:
        try:
            return child.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        if hung_up():
            Ending(child.pid, paths.pane_mark, _GRACE_SECONDS).wait()
            return 129


def _hear() -> None:
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
