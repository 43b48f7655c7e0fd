"""`step NAME`: the built-in tasks of plans."""

from __future__ import annotations

import argparse

from jobs.remote.offload_runner import steps


def main(options: argparse.Namespace) -> int:
    """Run a built-in task; its exit code is the task's."""
    return steps.main(options.name, options.root, options.session)
