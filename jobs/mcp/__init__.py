"""The MCP server of `offload mcp`: jobs for a user's own coding agent. See docs/mcp.md.

Only `jobs.mcp.server` and `jobs.mcp.asking` import the SDK, which is an optional extra.
"""
