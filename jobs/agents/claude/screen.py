"""Claude Code on its own screen: hooks that report, and a profile that asks nothing at the start.

Hooks and settings: https://code.claude.com/docs/en/hooks and /settings.
"""

from __future__ import annotations

import json
from typing import Any

from jobs.agents.base import CLEAR_LINE, ESCAPE, PLACEHOLDER, Call, Gateway, Profile, Screen
from jobs.agents.reports import REPORT, report_command
from jobs.remote.offload_runner.protocol import NEEDS_INPUT

PROFILE = "claude-code-screen"
_EVENTS = (
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PermissionRequest",
    "PermissionDenied",
    "PostToolUse",
    "PostToolUseFailure",
    "Notification",
    "Stop",
    "StopFailure",
)
_PERMISSIONS = {
    "defaultMode": "default",
    "disableBypassPermissionsMode": "disable",
    # A model would approve in that mode, and its offer hides the line of input.
    "disableAutoMode": "disable",
}


def profile() -> Profile:
    """Return the profile. Its hooks are all that runs there besides what a person or the model asks for."""
    hook = {"type": "command", "command": report_command(), "timeout": 10}
    settings: dict[str, Any] = {
        "hooks": {event: [{"hooks": [hook]}] for event in _EVENTS},
        "permissions": _PERMISSIONS,
        # What the change says there is material, not memory.
        "claudeMdExcludes": ["**"],
    }
    known: dict[str, Any] = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [PLACEHOLDER[-20:]], "rejected": []},
        "projects": {
            place: {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
            for place in ("{home}/work", "{worktree}")
        },
    }
    files = {
        "settings.json": json.dumps(settings, indent=1, sort_keys=True) + "\n",
        ".claude.json": json.dumps(known, indent=1, sort_keys=True) + "\n",
        **REPORT,
    }
    return Profile(PROFILE, files, keep=("projects",))


def screen(model: str, request: str, gateway: Gateway, oldest: tuple[int, int]) -> Screen:
    """Return the screen. It works below the worktree, and reads no settings of the change."""
    argv = ["claude", *(("--model", model) if model else ()), "--setting-sources", "user"]
    # Skills and commands of the change would be found in the directory that is added.
    argv += ["--strict-mcp-config", "--disable-slash-commands", "--add-dir", "{worktree}"]
    argv.append("--append-system-prompt")
    argv.append("The change that you work on is in {worktree}. Work there; your own directory is empty.")
    env = {
        "CLAUDE_CONFIG_DIR": "{home}",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    call = Call(
        argv=(*argv, "--", request) if request else tuple(argv),
        prompt="",
        resume=(*argv, "--resume", "{session}"),
        env=env,
        gateway=gateway,
    )
    return Screen(
        call,
        hooks="claude",
        profile=profile(),
        cwd="{home}/work",
        approve="1",
        deny=ESCAPE,
        clear=CLEAR_LINE,
        drawn=r"\b1\. Yes",
        denied=NEEDS_INPUT,
        oldest=oldest,
    )
