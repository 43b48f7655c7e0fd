"""`prepare`: from a request to a worktree, in one round trip."""

from __future__ import annotations

import argparse

from jobs.remote.offload_runner import protocol, wire
from jobs.remote.offload_runner.engine.journal import Journal
from jobs.remote.offload_runner.files.paths import job_paths
from jobs.remote.offload_runner.git import worktree

_JOURNALLED = ("sha", "base_sha", "base_ref", "merge_base", "worktree")


def main(options: argparse.Namespace) -> int:
    """Lay out the worktree, and write to the journal, once per commit, that it is there."""
    spec = wire.read_spec()
    paths = job_paths(options.root, str(spec.get("session", "")))
    prepared = worktree.prepare(options.root, spec, wire.emit)
    journal = Journal(paths.journal)
    known = [event for event in journal.read() if event["kind"] == protocol.PREPARED]
    if not known or known[-1]["sha"] != prepared["sha"]:
        journal.append(protocol.PREPARED, **{name: prepared.get(name) for name in _JOURNALLED})
    wire.emit({**prepared, "type": "prepared"})
    return 0
