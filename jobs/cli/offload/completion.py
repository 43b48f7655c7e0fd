"""`offload completion bash|zsh|fish`: print the completion script of a shell."""

from __future__ import annotations

from jobs.cli.completion import script
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Print the script."""
    print(script(request.words[0]), end="")
    return 0
