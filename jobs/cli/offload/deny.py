"""`offload deny TARGET [REASON]`: tell an agent no."""

from __future__ import annotations

from jobs.cli.answering import answer_agent
from jobs.cli.request import Request


async def run(request: Request) -> int:
    """Deny what it asks for."""
    return await answer_agent(request, "deny")
