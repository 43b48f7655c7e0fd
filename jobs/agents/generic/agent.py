"""Any program that reads a prompt on standard input and writes its answer to standard output."""

from __future__ import annotations

import shlex
from typing import ClassVar

from jobs.agents.base import PLACEHOLDER, REVIEW_PROMPT, Agent, Call, Gateway, Program, with_request
from jobs.errors import NotConfigured

# API -> name of its key, and the variable by which its programs are told another address.
APIS = {
    "gemini": ("GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "{url}/gemini"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "{url}/anthropic"),
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL", "{url}/openai/v1"),
}


class Generic(Agent):
    """The options' `command`: its command line; `secrets`: the names of those that it gets itself.

    `api`: the model API that it uses, a key of `APIS`: it then gets the gateway's address and not the key;
    empty: unknown. Its command names its model.
    """

    name: ClassVar[str] = "generic"

    def program(self) -> Program:
        """Return its program. Raises `NotConfigured` without a command."""
        return Program(self.name, self._argv()[0])

    def review(self, request: str) -> Call:
        """Return the call. Raises `NotConfigured` without a command."""
        argv, prompt, options = self._argv(), with_request(REVIEW_PROMPT, request), self.options
        if not options.api:
            return Call(argv=argv, prompt=prompt, secrets=options.secrets)
        key, variable, address = APIS[options.api]
        env = {variable: address, key: PLACEHOLDER}
        gateway = Gateway(options.api, env, key, options.url, options.tokens)
        held = tuple(name for name in options.secrets if name != key)
        return Call(argv=argv, prompt=prompt, secrets=held, gateway=gateway)

    def _argv(self) -> tuple[str, ...]:
        try:
            argv = tuple(shlex.split(self.options.command))
        except ValueError as error:
            raise NotConfigured(f"The setting 'agent_command' is not a command line: {error}.") from error
        if not argv:
            raise NotConfigured(
                "The agent `generic` has no command.",
                hint="Set it: `manage.py offload setup --set agent_command='claude -p'`.",
            )
        return argv
