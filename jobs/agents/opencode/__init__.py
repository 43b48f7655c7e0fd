"""opencode."""

from jobs.agents.opencode.agent import KEY, PROFILE, Opencode

__all__ = ["KEY", "PROFILE", "Opencode"]
