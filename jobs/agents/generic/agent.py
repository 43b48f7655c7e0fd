"""Any program that reads a prompt on standard input and writes its answer to standard output."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from jobs.agents.base import REVIEW_PROMPT, Agent, Call, Program, with_request
from jobs.errors import NotConfigured


@dataclass(frozen=True)
class Generic(Agent):
    """`command`: its command line; `secrets`: the names of those that it needs."""

    command: str = ""
    secrets: tuple[str, ...] = ()
    name: ClassVar[str] = "generic"

    def program(self) -> Program:
        """Return its program. Raises `NotConfigured` without a command."""
        return Program(self.name, self._argv()[0])

    def review(self, request: str) -> Call:
        """Return the call. Raises `NotConfigured` without a command."""
        return Call(argv=self._argv(), prompt=with_request(REVIEW_PROMPT, request), secrets=self.secrets)

    def _argv(self) -> tuple[str, ...]:
        try:
            argv = tuple(shlex.split(self.command))
        except ValueError as error:
            raise NotConfigured(f"The setting 'agent_command' is not a command line: {error}.") from error
        if not argv:
            raise NotConfigured(
                "The agent `generic` has no command.",
                hint="Set it: `manage.py offload setup --set agent_command='claude -p'`.",
            )
        return argv
