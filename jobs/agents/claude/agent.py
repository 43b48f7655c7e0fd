"""Claude Code, headless and read-only, with a profile of its own.

Options, settings and variables: https://code.claude.com/docs/en/cli-reference, /settings and /env-vars.
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
from jobs.agents.claude.screen import screen

PROFILE = "claude-code-config"
KEY = "ANTHROPIC_API_KEY"
VERSION = "2.1.332"
OLDEST = (2, 1)
_SETTINGS: dict[str, Any] = {
    "disableAllHooks": True,
    "permissions": {"defaultMode": "default", "disableBypassPermissionsMode": "disable"},
    # What the change says there is material, not memory.
    "claudeMdExcludes": ["**"],
}


class Claude(Agent):
    """Claude Code, called with `--print`."""

    name: ClassVar[str] = "claude"
    fixes: ClassVar[bool] = True

    @property
    def profile(self) -> Profile:
        """Return the profile: `CLAUDE_CONFIG_DIR` names the directory."""
        settings = json.dumps(_SETTINGS, indent=1, sort_keys=True) + "\n"
        return Profile(PROFILE, {"settings.json": settings}, keep=("projects",))

    def program(self) -> Program:
        """Return its program."""
        return Program(self.name, "claude", OLDEST, f"@anthropic-ai/claude-code@{VERSION}")

    def review(self, request: str) -> Call:
        """Return the call. It has no tools but those that read, and reads below the worktree only."""
        reads = ("--tools", "Read,Grep,Glob", "--add-dir", "{worktree}")
        return self._call(with_request(REVIEW_PROMPT, request), reads)

    def fix(self, request: str, prompt: str = FIX_PROMPT) -> Call:
        """Return the call. Its tools read and edit files, below the tree only; it runs no command."""
        edits = ("--tools", "Read,Grep,Glob,Edit,Write", "--permission-mode", "acceptEdits")
        return self._call(with_request(prompt, request), (*edits, "--add-dir", "{tree}"))

    def _call(self, prompt: str, tools: tuple[str, ...]) -> Call:
        model = ("--model", self.options.model) if self.options.model else ()
        argv = ("claude", *model, "--print", "--output-format", "stream-json", "--verbose")
        # Skills of the change would be found in the directory that is added.
        apart = ("--setting-sources", "user", "--strict-mcp-config", "--disable-slash-commands")
        env = {
            "CLAUDE_CONFIG_DIR": "{home}",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            # It would ask ten times, also with a key that is refused.
            "CLAUDE_CODE_MAX_RETRIES": "3",
            "NO_COLOR": "1",
        }
        return Call(
            argv=(*argv, *apart, *tools),
            resume=(*argv, *apart, "--resume", "{session}", *tools),
            prompt=prompt,
            env=env,
            gateway=self._gateway(),
            output="claude",
        )

    def open(self, request: str) -> Screen:
        """Return its own screen."""
        return screen(self.options.model, request, self._gateway(), OLDEST)

    def _gateway(self) -> Gateway:
        reached = {"ANTHROPIC_BASE_URL": "{url}/anthropic", KEY: PLACEHOLDER}
        return Gateway("anthropic", reached, KEY, self.options.url, self.options.tokens)
