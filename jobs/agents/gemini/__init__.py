"""Gemini CLI."""

from jobs.agents.gemini.agent import KEY, PROFILE, Gemini

__all__ = ["KEY", "PROFILE", "Gemini"]
