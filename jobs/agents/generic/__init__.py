"""Any program that reads a prompt and prints an answer."""

from jobs.agents.generic.agent import Generic

__all__ = ["Generic"]
