"""`heads`: where the refs of a repository are now, without fetching anything."""

from __future__ import annotations

import argparse

from jobs.remote.offload_runner import wire
from jobs.remote.offload_runner.errors import RunnerError
from jobs.remote.offload_runner.git import fetch
from jobs.remote.offload_runner.protocol import EXIT_OK, EXIT_USAGE


def main(options: argparse.Namespace) -> int:
    """Ask the repository of the request for its refs; answer with those it has and their commits."""
    spec = wire.read_spec()
    credentials = spec.get("credentials") or {}
    try:
        wanted = [str(ref) for ref in spec["refs"]]
        remote = fetch.Remote(
            url=str(spec["url"]),
            slug="",
            user=str(credentials.get("user") or ""),
            token=str(credentials.get("token") or ""),
        )
    except (KeyError, TypeError):
        raise RunnerError("usage", "The request lacks `url` or `refs`.", "", EXIT_USAGE) from None
    for ref in wanted:
        fetch.check_ref(ref)
    refs = fetch.ask(options.root, remote, wanted).refs
    wire.emit({"type": "heads", "refs": {ref: refs[ref] for ref in wanted if ref in refs}})
    return EXIT_OK
