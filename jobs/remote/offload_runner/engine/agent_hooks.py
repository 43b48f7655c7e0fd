"""What agents with a terminal report of themselves, by their hooks: read as input from untrusted code.

A report is a file in a directory that the agent's code can write. It says what the agent does, and decides
only whether something may be typed to it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, List, Mapping, Optional, Tuple

from jobs.remote.offload_runner.files import untrusted
from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.protocol import (
    AGENT_STATES,
    AT_LIMIT,
    NEEDS_APPROVAL,
    NEEDS_INPUT,
    THINKING,
    TOOL,
)

_REPORT_BYTES = 4 * 1024 * 1024
_MOST_AT_ONCE = 128
_MOST_LISTED = 4000
_DETAIL = 200
_EVIDENCE = 500
_SUFFIX = ".json"
_PLACES = ("transcript_path", "cwd")  # long, and the same in each report


@dataclass(frozen=True)
class Report:
    """One report. `state` empty: the report ends a question, or says nothing about the state.

    `asks`: the call of a tool that the agent asks about; `ends`: the call that has ended; `ends_all`: nothing
    that was asked is open any more. `choices`: how many answers a question offers, to choose by number; the
    one after the last takes a text. -1: it cannot be answered by one text.
    """

    event: str
    state: str = ""
    detail: str = ""
    session: str = ""
    evidence: str = ""
    asks: str = ""
    ends: str = ""
    ends_all: bool = False
    choices: int = 0


def take_reports(home: Path, folder: str, read: "Reader") -> List[Report]:
    """Return the reports in a folder of an agent's HOME, oldest first, and remove them.

    At most 128 at once; what is no regular file of at most 4 MiB is passed over.
    """
    try:
        top = os.open(str(home), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    except OSError:
        return []
    finally:
        os.close(top)
    try:
        newest = max(_list(inner), default=None)
        # A listing can have a file and miss an older one that came while it was made; the next one has both.
        found = [one for one in _list(inner) if newest is not None and one <= newest]
        reports = []
        for _, name in sorted(found)[:_MOST_AT_ONCE]:
            report = _read_one(home, "%s/%s" % (folder, name), read)
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=inner)
            if report is not None:
                reports.append(report)
        return reports
    finally:
        os.close(inner)


def _list(folder: int) -> List[Tuple[int, str]]:
    """Return the reports in a folder, with their times: at most 4000."""
    found = []
    with os.scandir(folder) as entries:
        for entry in itertools.islice(entries, _MOST_LISTED):
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                with contextlib.suppress(OSError):
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
    return found


def _read_one(home: Path, name: str, read: "Reader") -> Optional[Report]:
    try:
        data = untrusted.read(home, name, limit=_REPORT_BYTES)
        payload = json.loads(data)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    report = read(payload)
    said = {name: value for name, value in payload.items() if name not in _PLACES}
    evidence = one_line(json.dumps(said, ensure_ascii=False), _EVIDENCE)
    session = one_line(payload.get("session_id"))
    return replace(report, session=session, evidence=evidence) if report is not None else None


def one_line(value: Any, most: int = _DETAIL) -> str:
    """Return a value of a report as one line that can be shown anywhere."""
    text = value if isinstance(value, str) else ""
    return shown(" ".join(text[: 4 * most].split()))[:most]


Reader = Callable[[Mapping[str, Any]], Optional[Report]]


def read_generic(payload: Mapping[str, Any]) -> Optional[Report]:
    """Read `{"state", "detail", "session_id"}`, which any program can write."""
    state = payload.get("state")
    if not isinstance(state, str) or state not in AGENT_STATES:
        return None
    asks = "its question" if state == NEEDS_APPROVAL else ""
    return Report("of its own", state, one_line(payload.get("detail")), asks=asks, ends_all=not asks)


def read_claude(payload: Mapping[str, Any]) -> Optional[Report]:
    """Read what Claude Code gives to a hook: https://code.claude.com/docs/en/hooks."""
    event = one_line(payload.get("hook_event_name"))
    tool = one_line(payload.get("tool_name"))
    call = _call(payload)
    if event == "SessionStart" or event == "Stop":
        return Report(event, NEEDS_INPUT, ends_all=True)
    if event == "UserPromptSubmit":
        return Report(event, THINKING, ends_all=True)
    if event == "PreToolUse":
        return Report(event, TOOL, tool)
    if event == "PermissionRequest" and tool == "AskUserQuestion":
        question, choices = _question(payload.get("tool_input"))
        return Report(event, NEEDS_INPUT, question, asks=call, choices=choices)
    if event == "PermissionRequest":
        return Report(event, NEEDS_APPROVAL, _about(tool, payload.get("tool_input")), asks=call)
    if event in ("PostToolUse", "PostToolUseFailure", "PermissionDenied"):
        return Report(event, THINKING, ends=call)
    if event == "StopFailure":
        why = one_line(payload.get("error")) or "for no given reason"
        if why == "rate_limit":
            return Report(event, AT_LIMIT, why, ends_all=True)
        return Report(event, NEEDS_INPUT, "its last turn failed: %s" % why, ends_all=True)
    if event == "Notification" and payload.get("notification_type") == "idle_prompt":
        return Report(event, NEEDS_INPUT, ends_all=True)
    return None


def _question(given: Any) -> Tuple[str, int]:
    """Return what is asked, with the answers that are offered, and their number; -1: not just one."""
    questions = given.get("questions") if isinstance(given, dict) else None
    if not isinstance(questions, list) or not questions or not isinstance(questions[0], dict):
        return "a question", -1
    options = questions[0].get("options")
    labels = [one_line(one.get("label")) for one in options or () if isinstance(one, dict)]
    text = " ".join(
        [one_line(questions[0].get("question")), *("%d. %s" % two for two in enumerate(labels, 1))]
    )
    is_one = len(questions) == 1 and questions[0].get("multiSelect") is not True and 0 < len(labels) < 9
    return text[:_DETAIL], len(labels) if is_one else -1


def _call(payload: Mapping[str, Any]) -> str:
    """Return a text that is the same for all reports about one call of a tool."""
    return json.dumps([payload.get("tool_name"), payload.get("tool_input")], sort_keys=True)


def _about(tool: str, given: Any) -> str:
    """Return a tool with what it is to do: its command, or the file."""
    values = [given.get(name) for name in ("command", "file_path", "url")] if isinstance(given, dict) else []
    what = next((one_line(value) for value in values if isinstance(value, str)), "")
    return ("%s: %s" % (tool, what) if what else tool)[:_DETAIL]


def read_gemini(payload: Mapping[str, Any]) -> Optional[Report]:
    """Read what Gemini CLI gives to a hook: https://geminicli.com/docs/hooks/reference/."""
    event = one_line(payload.get("hook_event_name"))
    if event in ("SessionStart", "AfterAgent"):
        return Report(event, NEEDS_INPUT, ends_all=True)
    if event == "BeforeAgent":
        return Report(event, THINKING, ends_all=True)
    if event == "BeforeTool":
        return Report(event, TOOL, one_line(payload.get("tool_name")))
    if event == "AfterTool":
        return Report(event, THINKING, ends=_subject(payload.get("tool_input")))
    details = payload.get("details")
    if event != "Notification" or not isinstance(details, dict):
        return None
    title = one_line(details.get("title")) or one_line(payload.get("message"))
    if details.get("type") == "ask_user":
        return Report(event, NEEDS_INPUT, title or "a question", asks=_subject(details), choices=-1)
    what = one_line(details.get("command")) or one_line(details.get("filePath"))
    about = ("%s: %s" % (one_line(details.get("type")), what) if what else title)[:_DETAIL]
    return Report(event, NEEDS_APPROVAL, about, asks=_subject(details))


def _subject(given: Any) -> str:
    """Return what a call of Gemini's is about, which its question and its end both name."""
    values = given if isinstance(given, dict) else {}
    path = values.get("filePath") or values.get("file_path")
    if isinstance(path, str):
        return "file " + os.path.basename(path)
    command = values.get("command")
    return "command %s" % command if isinstance(command, str) else "another call"


# Codex gives its hooks what Claude Code gives its own: https://developers.openai.com/codex/hooks.
READERS: Mapping[str, Reader] = {
    "generic": read_generic,
    "claude": read_claude,
    "codex": read_claude,
    "gemini": read_gemini,
}
