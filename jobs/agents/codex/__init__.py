"""Codex."""

from jobs.agents.codex.agent import KEY, PROFILE, Codex

__all__ = ["KEY", "PROFILE", "Codex"]
