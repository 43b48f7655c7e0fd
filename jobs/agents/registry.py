"""Which agents there are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from jobs.agents.base import Agent, Options
from jobs.agents.claude import Claude
from jobs.agents.codex import Codex
from jobs.agents.gemini import Gemini
from jobs.agents.generic import Generic
from jobs.agents.opencode import Opencode
from jobs.errors import UsageError

AGENTS: Mapping[str, type[Agent]] = {
    agent.name: agent for agent in (Gemini, Claude, Codex, Opencode, Generic)
}
NAMES = tuple(AGENTS)


def get(name: str, options: Options | None = None) -> Agent:
    """Return the agent of this name, set up. Raises `UsageError` listing the names."""
    if name in AGENTS:
        return AGENTS[name](options or Options())
    near = difflib.get_close_matches(name, NAMES, n=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"There is no agent {name!r}.", hint=f"{meant}Agents: {', '.join(NAMES)}.")
