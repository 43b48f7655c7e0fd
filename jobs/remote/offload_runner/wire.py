"""Talking to the other side: JSON lines on stdout, JSON on stdin. People read stderr."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List

from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.protocol import EXIT_USAGE, ISOLATED, MAGIC, PROTOCOL

_DIGEST_LENGTH = 16


def emit(message: Dict[str, Any]) -> None:
    """Write one line, at once. Raises `BrokenPipeError` when the reader has gone."""
    data = (json.dumps(message, separators=(",", ":")) + "\n").encode()
    emit_bytes(data)


def emit_bytes(data: bytes) -> None:
    """Write raw bytes to stdout, all of them."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def runner_path() -> str:
    """Return the file that this program runs from (the zipapp, as a rule)."""
    return os.path.abspath(sys.argv[0])


def runner_argv(root: Path) -> List[str]:
    """Return how this program is started, up to the words that say what to do."""
    return [sys.executable, *ISOLATED, runner_path(), "--root", str(root)]


def digest() -> str:
    """Return the digest of the program's file; empty when it does not run from a zipapp."""
    path = Path(runner_path())
    if path.suffix != ".pyz":
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGEST_LENGTH]


def hello() -> Dict[str, Any]:
    """Return the line that every conversation starts with."""
    return {"magic": MAGIC, "protocol": PROTOCOL, "digest": digest(), "python": platform.python_version()}


def read_spec() -> Dict[str, Any]:
    """Read the request from stdin, to its end. Raises `RunnerError` when it is no JSON object."""
    try:
        spec = json.loads(sys.stdin.buffer.read() or b"{}")
    except ValueError as error:
        raise RunnerError("usage", "The request on stdin is not JSON: %s." % error, "", EXIT_USAGE) from None
    if not isinstance(spec, dict):
        raise RunnerError("usage", "The request on stdin is not a JSON object.", "", EXIT_USAGE)
    return spec


def now() -> str:
    """Return the present time as RFC 3339 UTC with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
