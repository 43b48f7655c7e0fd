"""`enter`: what a pane on the host runs to get into the container.

A container engine does not hand signals or hang-ups on to what it runs inside. So the pane holds a lock
for as long as its way in lives, and the runner inside, which sees the lock through the mounted directory,
treats its release as the hang-up that it did not hear.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import existing_job, give_away
from jobs.remote.offload_runner.protocol import EXIT_LOCKED

_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.05


def main(options: argparse.Namespace) -> int:
    """Take the lock, and become the command. Returns only when that fails."""
    paths = existing_job(options.root, options.session)
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    path = paths.way_in(options.lock)
    end = time.monotonic() + _PATIENCE_SECONDS
    while is_held(path):
        if time.monotonic() > end:
            raise RunnerError(
                "already_running",
                "Another pane is in the container for %s already." % paths.session,
                "Attach to its session instead.",
                EXIT_LOCKED,
            )
        time.sleep(_POLL_SECONDS)
    # A new file each time: who worked for an earlier pane sees that this one is not its own.
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".lock", dir=str(path.parent))
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    give_away(Path(name))
    os.replace(name, str(path))
    # Held by the program that we become, until it ends.
    os.set_inheritable(descriptor, True)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - a list of words, as it came
    except OSError as error:
        sys.stderr.write("Starting %s failed: %s.\n" % (argv[0], error.strerror))
        return 127
