"""`offload send TARGET [TEXT]`: type text to an agent that waits for input."""

from __future__ import annotations

from jobs.cli.answering import answer_agent
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Type the text."""
    return await answer_agent(request, "send")
