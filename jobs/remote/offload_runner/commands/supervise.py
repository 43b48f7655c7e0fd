"""`supervise`: start tasks for a runner that talks to this process over stdin and stdout."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from typing import Dict, List, Optional, Tuple

from jobs.remote.offload_runner.engine import reaper
from jobs.remote.offload_runner.engine.supervise import Supervisor
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import mounted
from jobs.remote.offload_runner.protocol import EXIT_REFUSED

EXIT_STILL_THERE = 1
# "uid:gid" of the job's user, in the environment of a job container.
USER = "OFFLOAD_USER"
_PATIENCE_SECONDS = 15.0
_POLL_SECONDS = 0.05


def main(options: argparse.Namespace) -> int:
    """Serve until stdin ends and nothing that was started runs any more.

    With `--in-container` the tasks run as the job's user, whatever user this process has, and it first
    waits for the end of an earlier supervisor of the session. With `--sweep` that is all: exit code 1 says
    that something of the session still runs. With `--mounted` (JSON, see `files.mounted`) nothing is started
    when one of these directories is not the one that the runner meant.

    Raises `RunnerError` (`mount_exchanged`) then.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    user: Optional[Tuple[int, int]] = None
    if options.in_container:
        # A variable of the container, which was given to it when it was made.
        uid, _, gid = os.environ[USER].partition(":")
        user = int(uid), int(gid)
        if not options.shell and not _wait_for_others(options.session):
            return EXIT_STILL_THERE
        reaper.kill_strays()
        _refuse_exchanged(json.loads(options.mounted))
    if not options.sweep:
        Supervisor(user).serve()
    return 0


def _refuse_exchanged(expected: Dict[str, List[int]]) -> None:
    found = mounted.exchanged(expected)
    if found:
        raise RunnerError(
            "mount_exchanged",
            "%s is another directory than the job's: code of a job replaced it." % ", ".join(found),
            exit_code=EXIT_REFUSED,
        )


def _wait_for_others(session: str) -> bool:
    """Wait until no other supervisor of the session's tasks lives; return whether that is so."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while _others(session):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _others(session: str) -> bool:
    wanted = ["supervise", "--session", session, "--in-container"]
    for name in os.listdir("/proc"):
        # The container's init has the words of what it started.
        if not name.isdigit() or int(name) in (1, os.getpid()):
            continue
        try:
            with open("/proc/%s/cmdline" % name, "rb") as file:
                words = file.read(65536).decode("utf-8", "replace").split("\0")
            with open("/proc/%s/status" % name) as file:
                owner = next(line for line in file if line.startswith("Uid:")).split()[1]
        except (OSError, StopIteration):
            continue
        # A task can call itself what it likes, but is another user.
        if words[-5:-1] == wanted and owner == str(os.geteuid()):
            return True
    return False
