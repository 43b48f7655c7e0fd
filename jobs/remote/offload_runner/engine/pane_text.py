"""What the pane of this process shows: whether a question is drawn, or a text typed, before a key follows.

What is drawn never says what an agent does: its reports do. It says only when a key would reach a question
that was reported, and whether that question is gone after it.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import Optional

from jobs.remote.offload_runner.engine.environment import harmless

_SECONDS = 5.0
_LINES_ABOVE = 8
_TAIL = 12


def read_pane() -> Optional[str]:
    """Return the text of the pane that this process runs in; None when that cannot be read."""
    server, pane = os.environ.get("TMUX", "").split(",")[0], os.environ.get("TMUX_PANE", "")
    if not server or not pane:
        return None
    try:
        done = subprocess.run(
            ["tmux", "-S", server, "capture-pane", "-p", "-t", pane],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(harmless(os.environ)),
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def question_on(shown: str, pattern: str) -> str:
    """Return the lines around the last match of a pattern, "" without one."""
    lines = shown.splitlines()
    found = [number for number, line in enumerate(lines) if re.search(pattern, line)]
    return "\n".join(lines[max(0, found[-1] - _LINES_ABOVE) : found[-1] + 1]) if found else ""


def is_typed(shown: str, text: str) -> bool:
    """Tell whether the end of a text is shown, or the words that stand for a long one."""
    tail = "".join(char for char in text if char.isalnum())[-_TAIL:]
    return tail in "".join(char for char in shown if char.isalnum()) or "[pasted " in shown.lower()
