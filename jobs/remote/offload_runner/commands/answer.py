"""`answer`: have the runner of a job type to its agent, if that waits for it."""

from __future__ import annotations

import argparse
import contextlib
import time
import uuid
from typing import Any, Dict

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.engine.run_lock import is_held
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.files.paths import JobPaths, existing_job, read_json, write_json
from jobs.remote.offload_runner.protocol import ANSWERS, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_USAGE

_SECONDS = 10.0
_TYPING_SECONDS = 40.0
_POLL_SECONDS = 0.02


def main(options: argparse.Namespace) -> int:
    """Answer `{"type": "answered", "state"}`: what it did before.

    Raises `RunnerError`: `not_waiting`; `not_confirmed` when it was typed and no effect was seen.
    """
    spec = wire.read_spec()
    paths = existing_job(options.root, options.session)
    if spec.get("answer") not in ANSWERS:
        raise RunnerError("usage", "%r is not an answer." % spec.get("answer"), "", EXIT_USAGE)
    if not is_held(paths.lock):
        raise _refused("Nothing runs for %s." % paths.session, "Start it again; the same command does.")
    told = _ask(paths, {name: str(spec.get(name) or "") for name in ("answer", "text", "actor", "about")})
    if told.get("refusal"):
        raise _refused(str(told["refusal"]), str(told.get("hint") or ""))
    if not told.get("took_effect"):
        raise RunnerError(
            "not_confirmed",
            "It was typed, and the agent of %s has neither reported nor shown an effect." % paths.session,
            "Look at its pane: `offload peek`.",
            EXIT_UNAVAILABLE,
        )
    wire.emit({"type": "answered", "state": str(told.get("state") or "")})
    return 0


def _ask(paths: JobPaths, asked: Dict[str, str]) -> Dict[str, Any]:
    paths.answers.mkdir(mode=0o700, exist_ok=True)
    path = paths.answers / ("%s.ask" % uuid.uuid4().hex)
    write_json(path, asked, durable=False)
    reply = path.with_suffix(".told")
    try:
        end = time.monotonic() + _SECONDS
        while not reply.exists():
            if time.monotonic() > end and _take_back(paths, path.name):
                raise _refused(
                    "No agent of %s waits in its pane." % paths.session,
                    "`offload status --why` says what it does.",
                )
            if time.monotonic() > _TYPING_SECONDS + end:
                raise RunnerError(
                    "unknown",
                    "It is unknown whether the answer was typed: the runner took it and did not say.",
                    "Look at the pane.",
                    EXIT_UNAVAILABLE,
                )
            time.sleep(_POLL_SECONDS)
        found = read_json(reply)
        return found if isinstance(found, dict) else {}
    finally:
        with contextlib.suppress(OSError):
            reply.unlink()


def _take_back(paths: JobPaths, name: str) -> bool:
    """Withdraw a request; return whether that was in time."""
    try:
        (paths.answers / name).unlink()
    except FileNotFoundError:
        return False
    return True


def _refused(message: str, hint: str) -> RunnerError:
    return RunnerError("not_waiting", message, hint, EXIT_REFUSED)
