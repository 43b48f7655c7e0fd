"""`offload fleet logs WORKER`: print the serial console of a machine."""

from __future__ import annotations

from jobs import operations
from jobs.cli.output import plain, print_json
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Print the console."""
    name = request.words[0]
    text = await operations.read_console(name)
    if request.json:
        print_json("console", {"name": name, "text": text})
    else:
        print("\n".join(plain(line) for line in text.splitlines()))
    return 0
