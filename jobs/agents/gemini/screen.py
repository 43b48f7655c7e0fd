"""Gemini CLI on its own screen: hooks that report, and a profile that asks nothing at the start.

Hooks and settings: https://geminicli.com/docs/hooks/reference/ and /docs/reference/configuration/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobs.agents.base import CLEAR_LINE, ESCAPE, Call, Gateway, Profile, Screen
from jobs.agents.reports import REPORT, report_command
from jobs.remote.offload_runner.protocol import NEEDS_INPUT

PROFILE = "gemini-cli-screen"
_EVENTS = ("SessionStart", "BeforeAgent", "AfterAgent", "BeforeTool", "AfterTool", "Notification")
_MILLISECONDS = 10_000
_MEMORY = "The change that you work on is in {worktree}. Work there; your own directory is empty.\n"


def profile(settings: Mapping[str, Any], keep: tuple[str, ...]) -> Profile:
    """Return the profile: the settings of headless calls, with hooks; `keep`: see `Profile`."""
    hook = {"type": "command", "command": report_command(), "name": "offload", "timeout": _MILLISECONDS}
    security = {**settings["security"], "disableYoloMode": True, "disableAlwaysAllow": True}
    shown: dict[str, Any] = {
        **settings,
        "security": security,
        "hooksConfig": {"enabled": True, "notifications": False},
        "hooks": {event: [{"matcher": "*", "hooks": [hook]}] for event in _EVENTS},
    }
    files = {
        ".gemini/settings.json": json.dumps(shown, indent=1, sort_keys=True) + "\n",
        ".gemini/GEMINI.md": _MEMORY,
        "work/.gemini/.env": "",
        **REPORT,
    }
    return Profile(PROFILE, files, keep)


def screen(model: str, request: str, gateway: Gateway, oldest: tuple[int, int], about: Profile) -> Screen:
    """Return the screen. It works on the worktree from a directory of its own, without its settings."""
    argv = ("gemini", *(("--model", model) if model else ()), "--approval-mode", "default")
    argv += ("--include-directories", "{worktree}")
    call = Call(
        argv=(*argv, "--prompt-interactive", request) if request else argv,
        prompt="",
        resume=(*argv, "--resume", "{session}"),
        env={"GEMINI_CLI_HOME": "{home}", "GEMINI_CLI_NO_RELAUNCH": "true"},
        gateway=gateway,
    )
    return Screen(
        call,
        hooks="gemini",
        profile=about,
        cwd="{home}/work",
        approve="1",
        deny=ESCAPE,
        clear=CLEAR_LINE,
        drawn=r"\b1\. (Allow|Yes)",
        denied=NEEDS_INPUT,
        oldest=oldest,
    )
