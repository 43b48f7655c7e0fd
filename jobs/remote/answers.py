"""What the runner's answers mean: lines, greetings, errors. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobs.errors import (
    JobFailed,
    NotConfigured,
    NotFound,
    OffloadError,
    ProtocolMismatch,
    Refused,
    RemoteUnreachable,
    TimedOut,
    UsageError,
    WorkerUnavailable,
)
from jobs.remote.layout import Layout
from jobs.remote.offload_runner.protocol import MAGIC, PROTOCOL
from jobs.transport.base import LONGEST_LINE


class Incomplete(WorkerUnavailable):
    """What was sent to the worker was not enough: it has fewer commits than it said."""


_EXIT_NO_COMMAND = 127
_EXIT_NO_FILE = 2

_ERRORS: Mapping[str, type[OffloadError]] = {
    "usage": UsageError,
    "not_found": NotFound,
    "no_session": NotFound,
    "no_base": NotFound,
    "ref_not_found": NotFound,
    "repository_unreachable": RemoteUnreachable,
    "not_a_repository": NotFound,
    "no_tmux": NotConfigured,
    "git_missing": NotConfigured,
    "python_too_old": NotConfigured,
    "unpushed": Refused,
    "uncommitted": Refused,
    "foreign_repository": Refused,
    "unsaved_unknown": Refused,
    "running": Refused,
    "already_running": Refused,
    "carried_incomplete": Incomplete,
    "no_space": WorkerUnavailable,
    "locked": WorkerUnavailable,
    "not_waiting": Refused,
    "not_confirmed": TimedOut,
}


def translate(line: Mapping[str, Any]) -> OffloadError:
    """Return the error that an error line of the runner stands for."""
    kind = _ERRORS.get(str(line.get("code")), JobFailed)
    return kind(str(line.get("message") or "The runner failed."), hint=str(line.get("hint") or ""))


def parse(line: bytes) -> dict[str, Any]:
    """Return a line of the runner as data. Raises `ProtocolMismatch`, for too long a line too."""
    try:
        data = json.loads(line) if len(line) <= LONGEST_LINE else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ProtocolMismatch(
            f"The worker's answer is not the runner's: {line[:200].decode(errors='replace')!r}.",
            hint="A login script that prints to a non-interactive shell does this.",
        )
    return data


def check_greeting(line: Mapping[str, Any]) -> None:
    """Raise `ProtocolMismatch` unless this is the first line of a runner that we understand."""
    if line.get("magic") != MAGIC:
        raise ProtocolMismatch(
            f"The worker did not answer as a runner: {str(dict(line))[:200]}.",
            hint="A login script that prints to a non-interactive shell does this.",
        )
    if line.get("protocol") != PROTOCOL:
        raise ProtocolMismatch(
            f"The runner on the worker speaks protocol {line.get('protocol')}, we speak {PROTOCOL}."
        )


def one(lines: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the line of one type. Raises `ProtocolMismatch` when there is none."""
    for line in lines:
        if line.get("type") == kind:
            return line
    raise ProtocolMismatch(f"The runner's answer holds no {kind!r} line.")


def runner_is_missing(status: int, stdout: bytes, stderr: bytes) -> bool:
    """Tell whether Python did not find the runner's file."""
    # Python's own words for a script that is not there; a runner that runs greets first. `podman exec` may
    # lose them: it gives up its pipes when what it was given to read is not read.
    return status == _EXIT_NO_FILE and not stdout and (b"can't open file" in stderr or not stderr.strip())


def runner_may_be_damaged(status: int, stdout: bytes) -> bool:
    """Tell whether Python may have run something that is not the whole runner.

    A zip file without its end is taken for a script: it does not parse (exit status 1), or is empty (0). So
    is a whole one that another call put there after Python looked for a zip file and before it ran it.
    """
    return status in (0, 1) and not stdout


def python_is_missing(status: int, stdout: bytes) -> bool:
    """Tell whether the shell did not find Python."""
    return status == _EXIT_NO_COMMAND and not stdout


def no_python(layout: Layout, stderr: bytes) -> OffloadError:
    """Return the error for a worker without Python."""
    return NotConfigured(
        f"Running the runner failed: {stderr.decode(errors='replace').strip() or 'command not found'}.",
        hint=f"Install Python 3.9 or later on the worker (it is called as {layout.python!r}).",
    )


def silent(words: list[str], status: int, stderr: bytes) -> OffloadError:
    """Return the error for a runner that ended without an answer."""
    said = stderr.decode(errors="replace").strip().splitlines()
    return JobFailed(
        f"The runner's {words[0]} ended with exit status {status} and no answer"
        + (f": {said[-1]}" if said else "."),
        hint="The line may have broken; try again.",
    )
