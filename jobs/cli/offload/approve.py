"""`offload approve TARGET`: tell an agent yes."""

from __future__ import annotations

from jobs.cli.answering import answer_agent
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Approve what it asks for."""
    return await answer_agent(request, "approve")
