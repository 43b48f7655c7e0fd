"""Which agents there are."""

from __future__ import annotations

import difflib

from jobs.agents.base import Agent
from jobs.agents.gemini import Gemini
from jobs.agents.generic import Generic
from jobs.errors import UsageError

NAMES = (Gemini.name, Generic.name)


def get(
    name: str,
    *,
    url: str = "",
    command: str = "",
    secrets: tuple[str, ...] = (),
    api: str = "",
    tokens: int = 0,
) -> Agent:
    """Return the agent of this name, set up. Raises `UsageError` listing the names."""
    if name == Gemini.name:
        return Gemini(url, tokens)
    if name == Generic.name:
        return Generic(command, secrets, api, url, tokens)
    near = difflib.get_close_matches(name, NAMES, n=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"There is no agent {name!r}.", hint=f"{meant}Agents: {', '.join(NAMES)}.")
