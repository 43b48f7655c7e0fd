"""opencode, headless and read-only, with a profile of its own.

Options and settings: https://opencode.ai/docs/cli/, /config/ and /permissions/.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from jobs.agents.base import (
    PLACEHOLDER,
    REVIEW_PROMPT,
    Agent,
    Call,
    Gateway,
    Profile,
    Program,
    with_request,
)
from jobs.errors import NotConfigured

PROFILE = "opencode-config"
KEY = "OPENAI_API_KEY"
VERSION = "1.18.33"
# The permissions and the events were tried with this one.
OLDEST = (1, 18)
_MODEL = "{env:OFFLOAD_MODEL}"
_CONFIG: dict[str, Any] = {
    "$schema": "https://opencode.ai/config.json",
    "autoupdate": False,
    "share": "disabled",
    "model": f"offload/{_MODEL}",
    "small_model": f"offload/{_MODEL}",
    "enabled_providers": ["offload"],
    "provider": {
        "offload": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "The gateway of the job",
            "options": {"baseURL": "{env:OPENAI_BASE_URL}", "apiKey": "{env:OPENAI_API_KEY}"},
            "models": {_MODEL: {"name": _MODEL}},
        }
    },
    # The last rule that fits counts.
    "permission": {
        "*": "deny",
        "read": "allow",
        "grep": "allow",
        "glob": "allow",
        "list": "allow",
        "external_directory": {
            "*": "deny",
            "{env:OFFLOAD_WORKTREE}": "allow",
            "{env:OFFLOAD_WORKTREE}/**": "allow",
        },
    },
}


class Opencode(Agent):
    """opencode, called with `run`. Its model API is one that speaks OpenAI's chat completions."""

    name: ClassVar[str] = "opencode"

    @property
    def profile(self) -> Profile:
        """Return the profile: `OPENCODE_CONFIG` names its file, the `XDG_` variables its directories."""
        config = json.dumps(_CONFIG, indent=1) + "\n"
        return Profile(PROFILE, {"opencode.json": config}, keep=(".local/share/opencode",))

    def program(self) -> Program:
        """Return its program."""
        return Program(self.name, "opencode", OLDEST, f"opencode-ai@{VERSION}")

    def review(self, request: str) -> Call:
        """Return the call. It has no tools but those that read. Raises `NotConfigured` without a model."""
        if not self.options.model:
            raise NotConfigured(
                "The agent `opencode` has no model.",
                hint="Set one that its model API has: `manage.py offload setup --set agent_model=NAME`.",
            )
        env = {
            "XDG_CONFIG_HOME": "{home}/.config",
            "XDG_DATA_HOME": "{home}/.local/share",
            "XDG_STATE_HOME": "{home}/.local/state",
            "XDG_CACHE_HOME": "{home}/.cache",
            "OPENCODE_CONFIG": "{home}/opencode.json",
            "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OFFLOAD_MODEL": self.options.model,
            "OFFLOAD_WORKTREE": "{worktree}",
            "NO_COLOR": "1",
        }
        reached = {"OPENAI_BASE_URL": "{url}/openai/v1", KEY: PLACEHOLDER}
        return Call(
            argv=("opencode", "run", "--format", "json", "--pure"),
            resume=("opencode", "run", "--format", "json", "--pure", "--session", "{session}"),
            prompt=with_request(REVIEW_PROMPT, request),
            env=env,
            gateway=Gateway("openai", reached, KEY, self.options.url, self.options.tokens),
            output="opencode",
        )
