"""`get-file`, `put-file`: a file of a job's worktree, which the job's code can exchange at any moment."""

from __future__ import annotations

import argparse
import sys

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files import untrusted
from jobs.remote.offload_runner.files.paths import existing_job
from jobs.remote.offload_runner.protocol import EXIT_NOT_FOUND, EXIT_OK, EXIT_REFUSED

_MOST_NAMES = 1000


def main(options: argparse.Namespace) -> int:
    """Print a file's content; or make one of stdin, and print the name that it got."""
    worktree = existing_job(options.root, options.session).worktree
    if options.command == "get-file":
        try:
            wire.emit_bytes(untrusted.read(worktree, options.path, limit=options.limit))
        except untrusted.UntrustedFile as error:
            code = EXIT_NOT_FOUND if isinstance(error.__cause__, FileNotFoundError) else EXIT_REFUSED
            raise RunnerError("refused", str(error), "Name a file inside the worktree.", code) from error
        return EXIT_OK
    data = sys.stdin.buffer.read()
    stem, dot, suffix = options.path.partition(".")
    for number in range(1, _MOST_NAMES):
        name = options.path if number == 1 else "%s-%d%s%s" % (stem, number, dot, suffix)
        if untrusted.create(worktree, name, data):
            wire.emit_bytes(name.encode("utf-8", "surrogateescape"))
            return EXIT_OK
    raise RunnerError("refused", "There are %d files of this name already." % _MOST_NAMES, "", EXIT_REFUSED)
