"""Codex on its own screen: hooks that report, and a profile that asks nothing at the start.

Hooks and settings: https://developers.openai.com/codex/hooks and /codex/config-reference.
"""

from __future__ import annotations

import json

from jobs.agents.base import CLEAR_LINE, ESCAPE, Call, Gateway, Profile, Screen
from jobs.agents.reports import REPORT, report_command
from jobs.remote.offload_runner.protocol import NEEDS_INPUT

PROFILE = "codex-screen"
_EVENTS = ("SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest", "PostToolUse", "Stop")
_ABOUT = """\
# Its commands write nothing and have no network, until a person approves one.
approval_policy = "on-request"
sandbox_mode = "read-only"
developer_instructions = "The change is in {worktree}. Work there; your own directory is empty."
"""
_TRUST = """
[projects."{home}/work"]
trust_level = "trusted"
"""


def profile(config: str) -> Profile:
    """Return the profile: the settings of headless calls, with hooks."""
    hook = {"type": "command", "command": report_command(), "timeout": 10}
    hooks = {"hooks": {event: [{"hooks": [hook]}] for event in _EVENTS}}
    files = {
        "config.toml": _ABOUT + config + _TRUST,
        "hooks.json": json.dumps(hooks, indent=1, sort_keys=True) + "\n",
        **REPORT,
    }
    return Profile(PROFILE, files, keep=("sessions",))


def screen(model: str, request: str, gateway: Gateway, oldest: tuple[int, int], about: Profile) -> Screen:
    """Return the screen. It works on the worktree from a directory of its own, without its settings."""
    # It finds the hooks of the profile only. Untrusted ones do not run, and nothing says so.
    argv = ("codex", *(("--model", model) if model else ()), "--dangerously-bypass-hook-trust")
    call = Call(
        argv=(*argv, "--", request) if request else argv,
        prompt="",
        resume=(*argv, "resume", "{session}"),
        env={"CODEX_HOME": "{home}"},
        gateway=gateway,
    )
    return Screen(
        call,
        hooks="codex",
        profile=about,
        cwd="{home}/work",
        approve="y",
        deny=ESCAPE,
        clear=CLEAR_LINE,
        drawn=r"\b1\. Yes",
        denied=NEEDS_INPUT,
        # It reports the start of a session with its first turn.
        at_start=("" if request else NEEDS_INPUT, NEEDS_INPUT),
        oldest=oldest,
    )
