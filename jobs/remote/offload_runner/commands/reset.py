"""`reset`: bring a job's tree back to what it was before tests; runs where the job's code runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.git import reset


def main(options: argparse.Namespace) -> int:
    """Do what the request on stdin says, and print what was found as JSON; see `steps.restored`."""
    spec = wire.read_spec()
    tree = Path(spec["tree"])
    if spec["what"] == "give_back":
        wire.emit_bytes(json.dumps({"back": reset.give_back(tree)}).encode("ascii"))
        return 0
    look = spec["what"] == "look"
    found = reset.reset(tree, Path(spec["mirror"]), spec["commit"], spec["made"], look=look)
    wire.emit_bytes(json.dumps(found).encode("ascii"))
    return 0
