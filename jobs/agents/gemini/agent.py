"""Gemini CLI, headless, with a profile of its own: read-only, or with tools that edit the tree of a fix.

Options and settings: https://geminicli.com/docs/cli/headless/ and /docs/reference/configuration/.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from jobs.agents.base import (
    FIX_PROMPT,
    PLACEHOLDER,
    REVIEW_PROMPT,
    Agent,
    Call,
    Gateway,
    Profile,
    Program,
    Screen,
    with_request,
)
from jobs.agents.gemini import screen

PROFILE = "gemini-cli-config"
KEY = "GEMINI_API_KEY"
VERSION = "0.61.0"
# The read-only policy and the events were tried with this one: an older one may ignore the policy.
OLDEST = (0, 61)
_SETTINGS: dict[str, Any] = {
    # A user's own login never counts, and a home without one is not asked for it.
    "security": {
        "auth": {"selectedType": "gemini-api-key"},
        "folderTrust": {"enabled": False},
        # No command that the agent runs sees what looks like a key.
        "environmentVariableRedaction": {"enabled": True},
    },
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "hooksConfig": {"enabled": False},
    "context": {"loadMemoryFromIncludeDirectories": False},
}
# Plan mode alone does not hold: without a terminal its own tool leaves it, for a mode that asks for nothing.
# What is not allowed here is denied in every mode. A policy file gives at most 999.
_POLICY = """\
[[rule]]
toolName = "*"
decision = "deny"
priority = 990

[[rule]]
toolName = {tools}
decision = "allow"
priority = 995
"""
_READS = ["read_file", "list_directory", "glob", "grep_search"]
# Its file tools reach its own directory and those that it is told to include, and nothing else.
_EDITS = [*_READS, "write_file", "replace"]
_EDIT_POLICY = "edit.toml"
_KEEP = (".gemini/tmp", ".gemini/history")


class Gemini(Agent):
    """Gemini CLI, called with `--prompt`."""

    name: ClassVar[str] = "gemini"
    fixes: ClassVar[bool] = True

    @property
    def profile(self) -> Profile:
        """Return the profile: `GEMINI_CLI_HOME` names the directory that holds `.gemini`."""
        files = {
            ".gemini/settings.json": json.dumps(_SETTINGS, indent=1, sort_keys=True) + "\n",
            ".gemini/policies/read-only.toml": _POLICY.format(tools=json.dumps(_READS)),
            # Named on the command line of a fix; no other call reads it.
            _EDIT_POLICY: _POLICY.format(tools=json.dumps(_EDITS)),
            # The nearest one counts: none of another directory is read.
            "work/.gemini/.env": "",
        }
        return Profile(PROFILE, files, _KEEP)

    def program(self) -> Program:
        """Return its program."""
        return Program(self.name, "gemini", OLDEST, f"@google/gemini-cli@{VERSION}")

    def review(self, request: str) -> Call:
        """Return the call. The policy in its profile lets it read, in whatever mode it is."""
        words = ("--approval-mode", "plan", "--include-directories", "{worktree}")
        return self._call(with_request(REVIEW_PROMPT, request), words)

    def fix(self, request: str, prompt: str = FIX_PROMPT) -> Call:
        """Return the call. A policy lets it read, and edit files of the tree; it runs no command."""
        policy = ("--approval-mode", "default", "--policy", f"{{home}}/{_EDIT_POLICY}")
        words = (*policy, "--include-directories", "{tree}")
        return self._call(with_request(prompt, request), words)

    def open(self, request: str) -> Screen:
        """Return its own screen."""
        options, about = self.options, screen.profile(_SETTINGS, _KEEP)
        return screen.screen(options.model, request, self._gateway(), OLDEST, about)

    def _gateway(self) -> Gateway:
        reached = {"GOOGLE_GEMINI_BASE_URL": "{url}/gemini", KEY: PLACEHOLDER}
        return Gateway("gemini", reached, KEY, self.options.url, self.options.tokens)

    def _call(self, prompt: str, words: tuple[str, ...]) -> Call:
        model = ("--model", self.options.model) if self.options.model else ()
        argv = ("gemini", *model, "--prompt", "Do what the text above says.", *words)
        argv = (*argv, "--output-format", "stream-json")
        # A second process that starts the first is slower, and stays when the first is killed.
        env = {"GEMINI_CLI_HOME": "{home}", "NO_COLOR": "1", "GEMINI_CLI_NO_RELAUNCH": "true"}
        return Call(
            argv=argv,
            resume=(*argv, "--resume", "{session}"),
            prompt=prompt,
            env=env,
            gateway=self._gateway(),
            output="gemini",
        )
