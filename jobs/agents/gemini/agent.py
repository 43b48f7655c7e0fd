"""Gemini CLI, headless and read-only, with a profile of its own.

Options and settings: https://geminicli.com/docs/cli/headless/ and /docs/reference/configuration/.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from jobs.agents.base import REVIEW_PROMPT, Agent, Call, Profile, with_request

PROFILE = "gemini-cli-config"
KEY = "GEMINI_API_KEY"
_SETTINGS: dict[str, Any] = {
    # A user's own login never counts, and a home without one is not asked for it.
    "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "hooksConfig": {"enabled": False},
    "context": {"loadMemoryFromIncludeDirectories": False},
}


@dataclass(frozen=True)
class Gemini(Agent):
    """`url`: the model API's address, when it is not the usual one."""

    url: str = ""
    name: ClassVar[str] = "gemini"

    @property
    def profile(self) -> Profile:
        """Return the profile: `GEMINI_CLI_HOME` names the directory that holds `.gemini`."""
        files = {
            ".gemini/settings.json": json.dumps(_SETTINGS, indent=1, sort_keys=True) + "\n",
            # The nearest one counts: none of another directory is read.
            "work/.gemini/.env": "",
        }
        return Profile(PROFILE, files, keep=(".gemini/tmp", ".gemini/history"))

    def review(self, request: str) -> Call:
        """Return the call: plan mode reads and never writes or runs commands."""
        argv = ("gemini", "--prompt", "Do what the text above says.", "--approval-mode", "plan")
        env = {"GEMINI_CLI_HOME": "{home}", "NO_COLOR": "1"}
        if self.url:
            env["GOOGLE_GEMINI_BASE_URL"] = self.url
        return Call(
            argv=(*argv, "--output-format", "json", "--include-directories", "{worktree}"),
            prompt=with_request(REVIEW_PROMPT, request),
            env=env,
            secrets=(KEY,),
            answer="response",
        )
