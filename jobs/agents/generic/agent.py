"""Any program that reads a prompt on standard input and writes its answer to standard output."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from jobs.agents.base import REVIEW_PROMPT, Agent, Call, with_request
from jobs.errors import NotConfigured


@dataclass(frozen=True)
class Generic(Agent):
    """`command`: its command line; `secrets`: the names of those that it needs."""

    command: str = ""
    secrets: tuple[str, ...] = ()
    name: ClassVar[str] = "generic"

    def review(self, request: str) -> Call:
        """Return the call. Raises `NotConfigured` without a command."""
        try:
            argv = tuple(shlex.split(self.command))
        except ValueError as error:
            raise NotConfigured(f"The setting 'agent_command' is not a command line: {error}.") from error
        if not argv:
            raise NotConfigured(
                "The agent `generic` has no command.",
                hint="Set it: `manage.py offload setup --set agent_command='claude -p'`.",
            )
        return Call(argv=argv, prompt=with_request(REVIEW_PROMPT, request), secrets=self.secrets)
