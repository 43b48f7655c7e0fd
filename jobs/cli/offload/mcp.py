"""`offload mcp`: an MCP server on standard input and output, for the user's own coding agent."""

from __future__ import annotations

from jobs.cli.request import Request
from jobs.errors import NotConfigured


async def run(request: Request) -> int:
    """Serve until standard input ends. Raises `NotConfigured` when the SDK is not installed."""
    try:
        from jobs.mcp.server import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise NotConfigured(
            "The package mcp is not installed, and the MCP server needs it.",
            hint="Install it where Offload is: pip install 'mcp>=2,<3' (or offload[mcp]).",
        ) from error
    await server.run_stdio_async()
    return 0
