"""Claude Code."""

from jobs.agents.claude.agent import KEY, PROFILE, Claude

__all__ = ["KEY", "PROFILE", "Claude"]
