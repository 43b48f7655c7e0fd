"""What an agent writes to its stdout, read as it comes and bounded: plain text, or lines of JSON."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping

from jobs.remote.offload_runner.git.command import shown
from jobs.remote.offload_runner.protocol import AGENT_DONE, AGENT_FAILED, THINKING, TOOL

_STREAM_BYTES = 64 * 1024 * 1024
_TEXT_BYTES = 4 * 1024 * 1024
_LINE_BYTES = 8 * 1024 * 1024  # an event that repeats the prompt is the longest
_MOST_OTHER_LINES = 10_000
_SHOWN = 200
_MESSAGE = 1000
_MOST_SHOWN = 500
_EVIDENCE = 500
_MOST_TOKENS = 1_000_000_000
_MOST_DOLLARS = 1_000_000


# Takes what the agent does now: one of `protocol.AGENT_STATES`, a detail (which tool), the event that tells
# so, and the agent's session, if that is known.
Report = Callable[[str, str, str, str], None]


def _ignore(state: str, detail: str, evidence: str, session: str) -> None:
    pass


class Output:
    """The output of one run of an agent.

    `text`: what the agent says; `problem`: why it failed, as it says itself; `about`: what else is known of
    the run; `is_over`: it wrote more than is read, and is to be ended.
    """

    most = _TEXT_BYTES

    def __init__(self, tell: Callable[[str], None], report: Report = _ignore) -> None:
        """`tell` takes lines for the task's log; `report`: see `Report`."""
        self.problem = ""
        self.about: Dict[str, Any] = {}
        self.is_over = False
        self._tell = tell
        self._report = report
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


class EventStream(Output):
    """Events of an agent, a JSON object a line. A subclass reads one in `_hear`.

    `about`: "session", "model", "tool_calls", "tokens" (of which "cached" are part of "input") and "cost" in
    dollars. An exit code can be 0 though the model's answer was cut: what counts is that `_is_ended` is set.
    """

    most = _STREAM_BYTES

    def __init__(self, tell: Callable[[str], None], report: Report = _ignore) -> None:
        """See `Output`."""
        super().__init__(tell, report)
        self.about = {"session": None, "model": None, "tool_calls": 0, "tokens": None, "cost": None}
        self._said: List[str] = []
        self._said_size = 0
        self._error = ""
        self._is_ended = False
        self._shown = 0
        self._others = 0
        self._state = ("", "")
        self._line = b""

    @property
    def text(self) -> str:
        """Return what the agent says, without what it was asked and what its tools returned."""
        return "".join(self._said)

    def end(self) -> None:
        """Take that no more comes."""
        self._hear_line(bytes(self._data))
        if not self._is_ended and not self.problem:
            self.problem = "Its events broke off%s" % (": %s" % self._error if self._error else ".")

    def _hear(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        raise NotImplementedError

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
        self._line = line[:_EVIDENCE]
        if isinstance(event, dict):
            self._hear(event)
        elif line.strip():
            self._others += 1
            if self._others > _MOST_OTHER_LINES:
                self.cut("It wrote more than %d lines that are no events." % _MOST_OTHER_LINES)
            self._show(line.decode("utf-8", "replace"))

    def _say(self, text: Any) -> None:
        if not isinstance(text, str):
            return
        self._enter(THINKING)
        self._said.append(text)
        self._said_size += len(text)
        if self._said_size > _TEXT_BYTES:
            self.cut("It said more than %d MiB." % (_TEXT_BYTES >> 20))

    def _use_tool(self, name: Any, parameters: Any) -> None:
        self.about["tool_calls"] += 1
        self._enter(TOOL, name)
        self._show("%s %s" % (name, json.dumps(parameters, ensure_ascii=False)))

    def _fail_tool(self, why: Any) -> None:
        self._show("That failed: %s" % one_line(why))
        self._enter(THINKING)

    def _enter(self, state: str, detail: Any = "") -> None:
        """Report what the agent does, when that is new."""
        new = (state, one_line(detail, _SHOWN))
        if new != self._state:
            self._state = new
            evidence = one_line(self._line.decode("utf-8", "replace"), _EVIDENCE)
            self._report(*new, evidence, self.about["session"] or "")

    def _count(self, tokens_in: Any, tokens_out: Any, cached: Any) -> None:
        """Add tokens to those that were counted."""
        counts = self.about["tokens"] or {"input": 0, "output": 0, "cached": 0}
        for name, value in (("input", tokens_in), ("output", tokens_out), ("cached", cached)):
            counts[name] += whole(value)
        self.about["tokens"] = counts

    def _cost(self, dollars: Any) -> None:
        if (
            isinstance(dollars, (int, float))
            and not isinstance(dollars, bool)
            and 0 <= dollars < _MOST_DOLLARS
        ):
            self.about["cost"] = round((self.about["cost"] or 0.0) + dollars, 6)

    def _end(self, problem: str = "") -> None:
        self._is_ended = True
        self.problem = self.problem or problem
        self._enter(AGENT_FAILED if self.problem else AGENT_DONE, self.problem)

    def _show(self, text: str) -> None:
        self._shown += 1
        if self._shown <= _MOST_SHOWN:
            self._tell("  " + one_line(text, _SHOWN))


def table(value: Any, name: str) -> Mapping[str, Any]:
    """Return a field of an event that is a table; an empty one if it is not."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def tables(value: Any) -> List[Mapping[str, Any]]:
    """Return the tables of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def whole(value: Any) -> int:
    """Return a count of an event; 0 if it is none."""
    return value if type(value) is int and 0 <= value < _MOST_TOKENS else 0


def word(event: Mapping[str, Any], name: str) -> Any:
    """Return a short text of an event; None if it has none."""
    value = event.get(name)
    return one_line(value, _SHOWN) if isinstance(value, str) else None


def one_line(value: Any, most: int = _MESSAGE) -> str:
    """Return a value of an event as one line."""
    return shown(" ".join(str(value or "")[:most].split()))[:most]
