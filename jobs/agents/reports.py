"""The hook by which an agent on its own screen reports: a file for each event, whole when it has its name."""

from __future__ import annotations

_NAME = "report.sh"
_SCRIPT = """\
f=$(mktemp '{reports}/.XXXXXXXXXX') && cat >"$f" && mv "$f" '{reports}'/r"${f##*.}".json
printf '{}'
"""
# A file of the agent's profile.
REPORT = {_NAME: _SCRIPT}


def report_command() -> str:
    """Return the command of a hook that passes on what it gets on standard input."""
    return f"sh '{{home}}/{_NAME}'"
