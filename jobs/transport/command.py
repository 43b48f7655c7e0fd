"""Command lines: what can be carried, how it is quoted, what a failure says. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from jobs.errors import CommandFailed, UsageError
from jobs.transport.base import Completed

ARGV_LIMIT = 100_000  # sshd hands a command to the login shell as one argument; Linux allows 128 KiB

_WORD = 900  # characters
_MISREAD = re.compile(rf"[\n!]|\\\\|\\'|[^\x00-\x7f]|\S{{{_WORD}}}")
_SPECIAL = re.compile(rb"[^A-Za-z0-9_./:,-]")
# No backslash before another one or a quote: fish would remove it.
_DECODE = r'IFS=; eval "$(printf %b "$(printf %s "$*" | tr + "\134")")"'


def check_argv(argv: Sequence[str], env: Mapping[str, str] | None) -> None:
    """Refuse what no transport can carry. Raises `UsageError`."""
    if not argv or not argv[0] or argv[0].startswith("-"):
        raise UsageError("A command needs a program, whose name does not begin with a dash.")
    if sum(len(text.encode()) + 3 for text in [*argv, *(env or {}), *(env or {}).values()]) > ARGV_LIMIT:
        raise UsageError(
            f"The command {argv[0]!r} is longer than {ARGV_LIMIT} bytes.", hint="Send long data as its input."
        )
    if any("\0" in text for text in [*argv, *(env or {}), *(env or {}).values()]):
        raise UsageError(f"The command {argv[0]!r} has a NUL character in it; no system can pass that on.")
    if any(not key or "=" in key for key in env or {}):
        raise UsageError(f"The command {argv[0]!r} was given a variable without a proper name.")


def quoted(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return the one string that a POSIX shell splits into exactly this argv.

    The only place where quoting happens. `env` becomes an `env K=V` in front: sshd accepts hardly any
    variable by itself.
    """
    prefix = ["env", *(f"{key}={value}" for key, value in env.items())] if env else []
    return shlex.join([*prefix, *argv])


def login_shell_line(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return the command line that any login shell (sh, csh, tcsh, fish, zsh) turns into exactly this argv.

    sshd hands a command to the user's login shell, which may not quote as sh does: csh ends a string at a
    newline and expands `!`, fish reads backslashes in single quotes, and bsd-csh has no words above 1 KiB.
    Such a command is sent in letters that mean nothing to a shell, and /bin/sh decodes it.
    """
    line = f"exec {quoted(argv, env)}"
    if not _MISREAD.search(line):
        return line
    encoded = _SPECIAL.sub(lambda found: b"+0%03o" % found[0][0], line.encode()).decode()
    if len(encoded) > ARGV_LIMIT:
        return line
    words = [encoded[at : at + _WORD] for at in range(0, len(encoded), _WORD)]
    return f"exec /bin/sh -c '{_DECODE}' sh {' '.join(words)}"


def failed(argv: Sequence[str], done: Completed, where: str) -> CommandFailed:
    """Return the error for a command that exited non-zero, with the last words of its stderr."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    how = f"exit status {done.exit_status}" if done.exit_status >= 0 else f"signal {-done.exit_status}"
    why = f"{how}: {lines[-1][:500]}" if lines else how
    return CommandFailed(
        f"Running {argv[0]} on {where} failed: {why.rstrip('.')}.",
        exit_status=done.exit_status,
        stdout=done.stdout,
        stderr=done.stderr,
        hint="The program is not installed there, or not on the PATH." if done.exit_status == 127 else "",
    )
