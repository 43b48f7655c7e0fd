"""`offload version`: print the version."""

from __future__ import annotations

import json

from jobs.cli.request import Request
from jobs.invocation import version


async def run(request: Request) -> int:
    """Print the version."""
    if request.json:
        print(json.dumps({"schema": "offload/1", "version": version()}))
    else:
        print(f"offload {version()}")
    return 0
