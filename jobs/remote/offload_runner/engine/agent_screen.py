"""An agent with a terminal: what it does, and what may be typed to it.

Its hooks tell first; what was typed in its pane makes that old. What the screen shows decides nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

from jobs.remote.offload_runner.engine import agent_hooks, pane_text, screen_task
from jobs.remote.offload_runner.engine.agent_hooks import one_line
from jobs.remote.offload_runner.engine.link import Link
from jobs.remote.offload_runner.files.paths import AGENT, JobPaths, read_json, write_json
from jobs.remote.offload_runner.protocol import (
    AGENT_ANSWER,
    AGENT_STATE,
    AGENT_UNKNOWN,
    ANSWERS,
    APPROVE,
    AT_LIMIT,
    ISOLATED,
    NEEDS_APPROVAL,
    NEEDS_INPUT,
    SEND,
    Task,
)
from jobs.remote.offload_runner.wire import now

LONGEST_TEXT = 64 * 1024
_WAITING = (NEEDS_INPUT, NEEDS_APPROVAL)
_TAKES_TEXT = (NEEDS_INPUT, AT_LIMIT)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# A program reads a paste and the key after it as two things only when they come apart.
_PAUSE_SECONDS = 0.3
_LOOK_SECONDS = 0.1
# How long a question that was reported may take to be drawn, a text to be shown, an answer to take effect.
_DRAWN_SECONDS = 6.0
_TYPED_SECONDS = 3.0
_EFFECT_SECONDS = 8.0
# A key that had no effect until then is typed once more.
_AGAIN_SECONDS = 2.5
# A person's question is told at once, unless the agent changes its mind all the time; the rest once a second.
_BURST = 60.0
_REFILL_SECONDS = 2.0
_SECONDS = 1.0
_RECORDED_TEXT = 2000
_ENDS_A_LINE = (b"\r", b"\n", b"\x03", b"\x15", b"\x1b")
_BEGIN_PASTE, _END_PASTE = b"\x1b[200~", b"\x1b[201~"


class AgentScreen:
    """Follows one agent from its start to its end."""

    def __init__(
        self,
        paths: JobPaths,
        task: Task,
        values: Mapping[str, str],
        env: Mapping[str, str],
        link: Link,
        secrets: Mapping[str, str],
        record: Callable[..., object],
    ) -> None:
        """Start it: see `ScreenTask`. `record(kind, **fields)` writes to the journal."""
        call: Dict[str, Any] = task.outputs["agent"]
        self._paths = paths
        self._call = call
        self._keys: Mapping[str, str] = call["keys"]
        self._record = record
        self._read = agent_hooks.READERS[str(call["hooks"])]
        self._sha = (read_json(paths.prepared) or {}).get("sha")
        self._session = ""
        self._open: Dict[str, str] = {}  # what it asks about, by call: the first one is on its screen
        self._choices = 0
        self._is_line_begun = False
        self._now: Dict[str, str] = {}
        self._told: Dict[str, str] = {}
        self._next = 0.0
        self._left, self._filled = _BURST, time.monotonic()
        self._count = 0  # of reports
        self._answering: Optional[Iterator[None]] = None
        self._told_of: "tuple[str, Dict[str, Any]]" = ("", {})  # the answer under way, and what is said of it
        self._looked = 0.0
        self._shown: Optional[str] = None
        self._has_reported = False
        self._reports()  # of an earlier start
        session = screen_task.session_to_resume(read_json(paths.agent_state), call["name"], self._sha)
        self._at_start = str(self._keys.get("at_resume" if session else "at_start") or "")
        given = json.dumps({**call, "session": session if call["resume"] else ""})
        words = [values["python"], *ISOLATED, values["runner"], "--root", str(paths.root), "open-agent"]
        argv = [*words, "--session", paths.session, given]
        shown = screen_task.screen_environment(env, str(paths.agent_reports))
        started = replace(task, argv=argv, cwd=str(paths.root))
        self.task = screen_task.ScreenTask(paths, started, values, shown, link, secrets)
        self.task.on_keys = self._note_keys

    def step(self, *, is_last: bool = False) -> None:
        """Take reports and answers, and journal what is new. `is_last`: the task has ended."""
        for report in self._reports():
            self._take(report)
        if self._at_start and not self._now and self.task.takes_pastes:
            self._enter(self._at_start, "", "", "its terminal, which takes text")
        self._tell(is_last=is_last)
        self._go_on(is_last=is_last)
        for name in self._waiting_answers():
            self._take_answer(name, is_last=is_last)
            self._go_on(is_last=is_last)

    # What it does

    def _reports(self) -> "list[agent_hooks.Report]":
        home = self._paths.place(AGENT).home
        return agent_hooks.take_reports(home, self._paths.agent_reports.name, self._read)

    def _take(self, report: agent_hooks.Report) -> None:
        if screen_task.SESSION_ID.fullmatch(report.session):
            self._session = report.session
        self._count += 1
        if report.ends_all:
            self._open.clear()
        self._open.pop(report.ends, None)
        self._is_line_begun = False
        if report.asks:
            self._open.setdefault(report.asks, report.detail)
        if self._open:
            # Another tool may have gone on; the question is still there.
            is_first = report.asks == next(iter(self._open))
            if not is_first and self._now.get("state") in _WAITING:
                return
        self._choices = report.choices
        self._enter(report.state, report.detail, report.evidence, "its hook %s" % report.event)

    def _enter(self, state: str, detail: str, evidence: str, source: str) -> None:
        if (state, detail) == (self._now.get("state"), self._now.get("detail")):
            return
        self._now = {"state": state, "detail": detail, "since": now(), "evidence": evidence}
        self._now["source"] = source
        kept = {**self._now, "session": self._session, "agent": self._call["name"], "sha": self._sha}
        with contextlib.suppress(OSError):  # a full disk ends the job for other reasons
            write_json(self._paths.agent_state, kept, durable=False)

    def _tell(self, *, is_last: bool) -> None:
        if self._now == self._told:
            return
        clock = time.monotonic()
        self._left = min(_BURST, self._left + (clock - self._filled) / _REFILL_SECONDS)
        self._filled = clock
        is_waiting = self._now["state"] in _WAITING
        if not is_last and (self._left < 1 or (clock < self._next and not is_waiting)):
            return
        self._left -= 1
        self._next = clock + _SECONDS
        self._told = self._now
        self._record(AGENT_STATE, task=self.task.task.id, **self._now)

    def _note_keys(self, keys: bytes) -> None:
        """Note that a person typed in the pane: a question may have been answered, a line begun."""
        if not screen_task.is_answer(keys):
            return
        self._is_line_begun = not keys.endswith(_ENDS_A_LINE)
        if self._open:
            self._open.clear()
            self._enter(AGENT_UNKNOWN, "a key was typed in its pane", "", "keys in its pane")

    # Answers

    def _waiting_answers(self) -> "list[str]":
        try:
            names = os.listdir(str(self._paths.answers))
        except OSError:
            return []
        return sorted(name for name in names if name.endswith(".ask"))[:10]

    def _take_answer(self, name: str, *, is_last: bool) -> None:
        path = self._paths.answers / name
        asked = read_json(path)
        try:
            path.unlink()  # before anything is typed: never twice
        except OSError:
            return  # it was taken back
        if not isinstance(asked, dict):
            return
        refusal, hint = self._refusal(asked, is_last=is_last)
        told = {"state": self._now.get("state", ""), "refusal": refusal, "hint": hint}
        if refusal:
            self._reply(name, told)
            return
        self._told_of = (name, told)
        self._answering = self._answer(asked, told)

    def _go_on(self, *, is_last: bool) -> None:
        """Go on with the answer under way; say what came of it when it has ended."""
        if self._answering is None:
            return
        name, told = self._told_of
        if not is_last and next(self._answering, self) is not self:
            return
        if is_last and "typed" not in told:
            told.update(refusal="Its agent has ended.", hint="Start the job again.")
        if is_last:
            told.setdefault("took_effect", True)  # it has ended, after what was typed
        self._answering = None
        self._reply(name, told)

    def _reply(self, name: str, told: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            write_json((self._paths.answers / name).with_suffix(".told"), told, durable=False)

    def _refusal(
        self, asked: Mapping[str, Any], *, is_last: bool = False, is_answering: bool = False
    ) -> "tuple[str, str]":
        """Return why nothing is typed, and what to do; empty: it is."""
        answer, text, state = asked.get("answer"), str(asked.get("text") or ""), self._now.get("state", "")
        if answer not in ANSWERS or _CONTROLS.search(text) or len(text) > LONGEST_TEXT:
            return "The text holds control characters or is too long.", "Send plain text."
        if is_last:
            return "Its agent has ended.", "Start the job again."
        if self._answering is not None and not is_answering:
            return "Another answer is being typed to its agent.", "Try again in a moment."
        if answer == SEND:
            return self._refusal_of_text(text, state)
        about = str(asked.get("about") or "")
        if state == NEEDS_APPROVAL and about and about != self._now["detail"]:
            return "Its agent asks for something else now: %s." % self._told_state, "Read that first."
        if state != NEEDS_APPROVAL:
            return "Its agent asks for no approval: %s." % self._told_state, self._what_to_do(state)
        if answer not in self._keys:
            return "Offload knows no key for that answer to this agent.", "Attach, and answer in its pane."
        return "", ""

    def _refusal_of_text(self, text: str, state: str) -> "tuple[str, str]":
        if not text.strip():
            return "There is no text to send.", ""
        if state not in _TAKES_TEXT:
            return "Its agent takes no text now: %s." % self._told_state, self._what_to_do(state)
        if self._choices < 0:
            return "Its question has several parts.", "Attach, and answer it in its pane."
        if not self.task.takes_pastes and self._call["hooks"] != "generic":
            return "Its screen is not there yet.", "Try again in a moment."
        if self._is_line_begun:
            return "A line was begun in its pane, and not sent.", "Attach, and send it or delete it there."
        if "\n" in text.strip("\n") and not self.task.takes_pastes:
            return "Its program takes one line at a time.", "Send one line."
        return "", ""

    @property
    def _told_state(self) -> str:
        state, detail = self._now.get("state", ""), self._now.get("detail", "")
        words = {
            "": "it has not reported what it does",
            AGENT_UNKNOWN: "what it does is unknown",
            NEEDS_INPUT: "it waits for input",
            NEEDS_APPROVAL: "it waits for approval",
        }
        return words.get(state, "its state is %s" % state) + (" (%s)" % detail if detail else "")

    @staticmethod
    def _what_to_do(state: str) -> str:
        if state == NEEDS_APPROVAL:
            return "Use `approve` or `deny` first."
        if state == NEEDS_INPUT:
            return "Use `send` to give it text."
        return "Wait until it asks, or attach and type in its pane."

    def _answer(self, asked: Mapping[str, Any], told: Dict[str, Any]) -> Iterator[None]:
        """Type an answer step by step, as the screen is ready for it; note in `told` what came of it."""
        answer, text = str(asked["answer"]), str(asked.get("text") or "")
        pattern = self._pattern(answer)
        question: Optional[str] = None
        if pattern:
            for _ in _until(_DRAWN_SECONDS):
                question = self._question(pattern)
                if question != "":
                    break
                yield
            refusal = self._refusal(asked, is_answering=True)
            if not refusal[0] and question == "":
                refusal = "It asks, and its question is not on its screen.", "Attach, and answer in its pane."
            if refusal[0]:
                told.update(refusal=refusal[0], hint=refusal[1])
                return
        before, held, count = self._now, dict(self._open), self._count
        key, line = self._key_and_line(answer, text)
        told["typed"] = True
        if key:
            self.task.write(key)
        self._note_answer(answer, text, str(asked.get("actor") or ""))
        if key and not (answer == SEND and line):
            yield from self._await_effect(key, pattern, question, count)
            told["took_effect"] = self._count > count or self._is_gone(pattern, question)
            if not told["took_effect"] and question:
                # Its question is there as before: it can be answered again.
                self._open = held
                self._enter(before["state"], before["detail"], before["evidence"], before["source"])
                return
        if line:
            if answer != SEND and self._keys.get("clear"):
                self.task.write(self._keys["clear"].encode())  # what was denied may be there again
            yield from self._type_line(line)
            told["took_effect"] = self._has_reported

    def _pattern(self, answer: str) -> str:
        """Return the pattern of a line of the question that is answered; "" when none is known."""
        if answer != SEND:
            return str(self._keys.get("drawn") or "")
        return r"^\W*%d\. " % (self._choices + 1) if self._choices else ""

    def _key_and_line(self, answer: str, text: str) -> "tuple[bytes, str]":
        """Return the key that answers a question, and the text to type after it; either may be empty."""
        if answer != SEND:
            return self._keys[answer].encode(), text if answer != APPROVE else ""
        if not self._choices:
            return b"", text
        number = text.strip()
        if number.isdecimal() and 1 <= int(number) <= self._choices:
            return b"%d" % int(number), ""
        return b"%d" % (self._choices + 1), text

    def _question(self, pattern: str) -> Optional[str]:
        """Return the question as it is drawn, "" when it is not; None when the screen cannot be read."""
        if time.monotonic() >= self._looked + _LOOK_SECONDS:
            self._shown = pane_text.read_pane()
            self._looked = time.monotonic()
        return None if self._shown is None else pane_text.question_on(self._shown, pattern)

    def _is_gone(self, pattern: str, question: Optional[str]) -> bool:
        return bool(question) and self._question(pattern) not in (None, question)

    def _await_effect(self, key: bytes, pattern: str, question: Optional[str], count: int) -> Iterator[None]:
        """Wait for a report, or until the question is gone; type the key once more while it is there."""
        again = time.monotonic() + _AGAIN_SECONDS
        for _ in _until(_EFFECT_SECONDS):
            yield
            if self._count > count or self._is_gone(pattern, question):
                return
            if time.monotonic() > again and question and self._question(pattern) == question:
                again = float("inf")
                self.task.write(key)

    def _type_line(self, text: str) -> Iterator[None]:
        """Type a line; Enter once it is shown, and again when nothing was reported after it."""
        self._has_reported = False
        line = text.strip("\n")
        data = line.encode("utf-8", "replace")
        for _ in _until(_PAUSE_SECONDS):
            yield
        self.task.write(_BEGIN_PASTE + data + _END_PASTE if self.task.takes_pastes else data)
        begun = time.monotonic()
        for _ in _until(_TYPED_SECONDS):
            yield
            self._question("")
            is_shown = (
                not self._keys.get("drawn") or self._shown is None or pane_text.is_typed(self._shown, line)
            )
            if is_shown and time.monotonic() > begun + _PAUSE_SECONDS:
                break
        count = self._count
        self.task.write(b"\r")
        again = time.monotonic() + _AGAIN_SECONDS
        for _ in _until(_EFFECT_SECONDS):
            yield
            if self._count > count:
                self._has_reported = True
                return
            # It reports a turn before it can ask anything: Enter can only end the line.
            if time.monotonic() > again and self._keys.get("drawn"):
                again = float("inf")
                self.task.write(b"\r")

    def _note_answer(self, answer: str, text: str, actor: str) -> None:
        state = self._now.get("state", "")
        does, said = AGENT_UNKNOWN, "a text was sent to it"
        if answer == APPROVE:
            said = "what it asked for was approved"
        elif answer != SEND:
            does, said = (AGENT_UNKNOWN if text else self._keys["denied"]), "what it asked for was denied"
        left = list(self._open.items())[1:] if answer == APPROVE else []
        self._open = dict(left)
        if left:
            does, said = NEEDS_APPROVAL, left[0][1]
        typed = {"answer": answer, "text": text[:_RECORDED_TEXT], "actor": one_line(actor)}
        self._record(AGENT_ANSWER, task=self.task.task.id, state=state, **typed)
        self._enter(does, said, json.dumps(typed, ensure_ascii=False)[:500], "an answer")
        self._tell(is_last=False)


def _until(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
