"""Any program that reads a prompt on standard input and writes its answer to standard output."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import ClassVar

from jobs.agents.base import (
    FIX_PROMPT,
    PLACEHOLDER,
    REVIEW_PROMPT,
    Agent,
    Call,
    Gateway,
    Program,
    Screen,
    with_request,
)
from jobs.errors import NotConfigured, UsageError

# API -> name of its key, and the variable by which its programs are told another address.
APIS = {
    "gemini": ("GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "{url}/gemini"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "{url}/anthropic"),
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL", "{url}/openai/v1"),
}


class Generic(Agent):
    """The options' `command`: its command line, and `screen` that on a terminal.

    `secrets`: the names of those that it gets itself.

    `api`: the model API that it uses, a key of `APIS`: it then gets the gateway's address and not the key;
    empty: unknown. Its command names its model.
    """

    name: ClassVar[str] = "generic"
    fixes: ClassVar[bool] = True

    def program(self) -> Program:
        """Return its program. Raises `NotConfigured` without a command."""
        return Program(self.name, self._argv()[0])

    def review(self, request: str) -> Call:
        """Return the call. Raises `NotConfigured` without a command."""
        return self._call(self._argv(), with_request(REVIEW_PROMPT, request))

    def fix(self, request: str, prompt: str = FIX_PROMPT) -> Call:
        """Return the call; it runs in the tree that it may edit. Raises `NotConfigured` without a command."""
        return replace(self._call(self._argv(), with_request(prompt, request)), cwd="{tree}")

    def open(self, request: str) -> Screen:
        """Return its screen, in the worktree. Raises `NotConfigured` without a command, `UsageError`."""
        if request:
            raise UsageError(
                "How the agent `generic` is given a prompt on a terminal is unknown.",
                hint="Leave --prompt out; use `offload send` when it waits.",
            )
        return Screen(self._call(self._words("agent_screen", self.options.screen), ""), hooks="generic")

    def _call(self, argv: tuple[str, ...], prompt: str) -> Call:
        options = self.options
        if not options.api:
            return Call(argv=argv, prompt=prompt, secrets=options.secrets)
        key, variable, address = APIS[options.api]
        env = {variable: address, key: PLACEHOLDER}
        gateway = Gateway(options.api, env, key, options.url, options.tokens)
        held = tuple(name for name in options.secrets if name != key)
        return Call(argv=argv, prompt=prompt, secrets=held, gateway=gateway)

    def _argv(self) -> tuple[str, ...]:
        return self._words("agent_command", self.options.command)

    def _words(self, setting: str, text: str) -> tuple[str, ...]:
        try:
            argv = tuple(shlex.split(text))
        except ValueError as error:
            raise NotConfigured(f"The setting {setting!r} is not a command line: {error}.") from error
        if not argv:
            example = "claude -p" if setting == "agent_command" else "aider"
            raise NotConfigured(
                "The agent `generic` has no command.",
                hint=f"Set it: `manage.py offload setup --set {setting}='{example}'`.",
            )
        return argv
