"""`unsaved`: list or bundle a job's work that is nowhere else; runs where the job's code runs."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.git import unsaved

_BLOCK = 1024 * 1024


def main(options: argparse.Namespace) -> int:
    """Print a survey as JSON, or the bundle of `{"files"}` (on stdin) as bytes."""
    if options.what == "list":
        found = unsaved.survey(options.root, options.session, options.pushed)
        wire.emit_bytes(json.dumps(found).encode("ascii"))
        return 0
    files = [str(name) for name in wire.read_spec().get("files") or []]
    with tempfile.TemporaryDirectory(prefix="offload-rescue-", dir=os.environ.get("HOME")) as folder:
        target = Path(folder) / "work.bundle"
        unsaved.bundle(options.root, options.session, files, target)
        with target.open("rb") as file:
            while block := file.read(_BLOCK):
                wire.emit_bytes(block)
    return 0
