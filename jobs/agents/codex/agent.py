"""Codex, headless and read-only, with a profile of its own.

Options and settings: https://developers.openai.com/codex/noninteractive and /codex/config-reference.
"""

from __future__ import annotations

from typing import ClassVar

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
from jobs.agents.codex import screen

PROFILE = "codex-config"
KEY = "OPENAI_API_KEY"
VERSION = "0.171.0"
# The sandbox and the events were tried with this one.
OLDEST = (0, 171)
_CONFIG = """\
model_provider = "offload"
check_for_update_on_startup = false
cli_auth_credentials_store = "ephemeral"
# What the change says there is material, not instructions.
project_doc_max_bytes = 0
web_search = "disabled"

[model_providers.offload]
name = "The gateway of the job"
base_url = "{model_url}/openai/v1"
wire_api = "responses"
env_key = "OPENAI_API_KEY"
request_max_retries = 3
stream_max_retries = 3

[analytics]
enabled = false

[history]
persistence = "none"

# In a fix its commands write to its own directory and the tree, and nowhere else.
[sandbox_workspace_write]
network_access = false
exclude_slash_tmp = true
exclude_tmpdir_env_var = true

# No command that the agent runs sees the gateway's address or what looks like a key.
[shell_environment_policy]
inherit = "core"
"""


class Codex(Agent):
    """Codex, called with `exec`."""

    name: ClassVar[str] = "codex"
    fixes: ClassVar[bool] = True

    @property
    def profile(self) -> Profile:
        """Return the profile: `CODEX_HOME` names the directory."""
        return Profile(PROFILE, {"config.toml": _CONFIG}, keep=("sessions",))

    def program(self) -> Program:
        """Return its program."""
        return Program(self.name, "codex", OLDEST, f"@openai/codex@{VERSION}")

    def review(self, request: str) -> Call:
        """Return the call. Its commands run in its own sandbox, which writes nothing and has no network."""
        return self._call(with_request(REVIEW_PROMPT, request), ("--sandbox", "read-only"))

    def fix(self, request: str, prompt: str = FIX_PROMPT) -> Call:
        """Return the call. Its commands run in its own sandbox: no network, and only the tree to write."""
        sandbox = ("--sandbox", "workspace-write", "--add-dir", "{tree}")
        return self._call(with_request(prompt, request), sandbox)

    def open(self, request: str) -> Screen:
        """Return its own screen."""
        about = screen.profile(_CONFIG)
        return screen.screen(self.options.model, request, self._gateway(), OLDEST, about)

    def _gateway(self) -> Gateway:
        return Gateway("openai", {KEY: PLACEHOLDER}, KEY, self.options.url, self.options.tokens)

    def _call(self, prompt: str, sandbox: tuple[str, ...]) -> Call:
        model = ("--model", self.options.model) if self.options.model else ()
        argv = ("codex", "exec", *model, "--json", *sandbox, "--skip-git-repo-check")
        return Call(
            argv=(*argv, "-"),
            resume=(*argv, "resume", "{session}", "-"),
            prompt=prompt,
            env={"CODEX_HOME": "{home}", "NO_COLOR": "1"},
            gateway=self._gateway(),
            output="codex",
        )
