"""What an agent writes to its stdout, read as it comes and bounded: plain text, or a stream of events."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping, Type

from jobs.remote.offload_runner.git.command import shown

_STREAM_BYTES = 64 * 1024 * 1024
_TEXT_BYTES = 4 * 1024 * 1024
_LINE_BYTES = 8 * 1024 * 1024  # an event that repeats the prompt is the longest
_MOST_OTHER_LINES = 10_000
_SHOWN = 200
_MESSAGE = 1000
_MOST_SHOWN = 500


class Output:
    """The output of one run of an agent.

    `text`: what the agent says; `problem`: why it failed, as it says itself; `about`: what else is known of
    the run; `is_over`: it wrote more than is read, and is to be ended.
    """

    most = _TEXT_BYTES

    def __init__(self, tell: Callable[[str], None]) -> None:
        """`tell` takes lines for the task's log."""
        self.problem = ""
        self.about: Dict[str, Any] = {}
        self.is_over = False
        self._tell = tell
        self._data = bytearray()
        self._size = 0

    @property
    def text(self) -> str:
        """Return what the agent says."""
        return self._data.decode("utf-8", "replace")

    def feed(self, data: bytes) -> None:
        """Take output."""
        self._size += len(data)
        if self._size > self.most:
            self.cut("It wrote more than %d MiB." % (self.most >> 20))
        if not self.is_over:
            self._data += data
            self._read()

    def cut(self, problem: str) -> None:
        """Read no more."""
        self.is_over = True
        self.problem = problem

    def end(self) -> None:
        """Take that no more comes."""

    def _read(self) -> None:
        """Read what is new in `_data`."""


class GeminiEvents(Output):
    """Gemini CLI's `--output-format stream-json`: https://geminicli.com/docs/cli/headless/.

    Its exit code is 0 also when the model's answer was cut: what counts is the event `result`.
    """

    most = _STREAM_BYTES

    def __init__(self, tell: Callable[[str], None]) -> None:
        """See `Output`."""
        super().__init__(tell)
        self.about = {"session": None, "model": None, "tool_calls": 0, "tokens": None}
        self._said: List[str] = []
        self._said_size = 0
        self._error = ""
        self._is_ended = False
        self._shown = 0
        self._others = 0

    @property
    def text(self) -> str:
        """Return what the agent says, without what it was asked and what its tools returned."""
        return "".join(self._said)

    def end(self) -> None:
        """Take that no more comes."""
        self._hear_line(bytes(self._data))
        if not self._is_ended and not self.problem:
            self.problem = "Its events broke off%s" % (": %s" % self._error if self._error else ".")

    def _read(self) -> None:
        *lines, rest = self._data.split(b"\n")
        self._data = rest
        for line in lines:
            if not self.is_over:
                self._hear_line(bytes(line))
        if len(rest) > _LINE_BYTES:
            self.cut("It wrote a line of more than %d MiB." % (_LINE_BYTES >> 20))

    def _hear_line(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            self._hear(event)
        elif line.strip():
            self._others += 1
            if self._others > _MOST_OTHER_LINES:
                self.cut("It wrote more than %d lines that are no events." % _MOST_OTHER_LINES)
            self._show(line.decode("utf-8", "replace"))

    def _hear(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "init":
            self.about.update(session=_word(event, "session_id"), model=_word(event, "model"))
        elif kind == "message" and event.get("role") == "assistant":
            self._say(str(event.get("content") or ""))
        elif kind == "tool_use":
            self.about["tool_calls"] += 1
            parameters = json.dumps(event.get("parameters"), ensure_ascii=False)
            self._show("%s %s" % (event.get("tool_name"), parameters))
        elif kind == "tool_result" and event.get("status") == "error":
            self._show("That failed: %s" % _message(event))
        elif kind == "error":
            self._error = _cut(event.get("message"), _MESSAGE)
            self._show("%s: %s" % (event.get("severity"), self._error))
        elif kind == "result":
            self._end(event)

    def _say(self, text: str) -> None:
        self._said.append(text)
        self._said_size += len(text)
        if self._said_size > _TEXT_BYTES:
            self.cut("It said more than %d MiB." % (_TEXT_BYTES >> 20))

    def _end(self, event: Mapping[str, Any]) -> None:
        self._is_ended = True
        stats = event.get("stats")
        if isinstance(stats, dict):
            names = {"input": "input_tokens", "output": "output_tokens", "cached": "cached"}
            counts = {name: stats.get(key) for name, key in names.items()}
            self.about["tokens"] = {
                name: count if type(count) is int else None for name, count in counts.items()
            }
        if event.get("status") != "success":
            self.problem = _message(event) or self._error or "It does not say why."

    def _show(self, text: str) -> None:
        self._shown += 1
        if self._shown <= _MOST_SHOWN:
            self._tell("  " + _cut(text, _SHOWN))


def _message(event: Mapping[str, Any]) -> str:
    error = event.get("error")
    return _cut(error.get("message"), _MESSAGE) if isinstance(error, dict) else ""


def _word(event: Mapping[str, Any], name: str) -> Any:
    value = event.get(name)
    return _cut(value, _SHOWN) if isinstance(value, str) else None


def _cut(value: Any, most: int) -> str:
    """Return a value of an event as one line."""
    return shown(" ".join(str(value or "")[:most].split()))[:most]


OUTPUTS: Mapping[str, Type[Output]] = {"text": Output, "gemini": GeminiEvents}
