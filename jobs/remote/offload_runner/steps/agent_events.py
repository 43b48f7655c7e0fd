"""The events of each agent that has some, as its headless call writes them."""

from __future__ import annotations

from typing import Any, Mapping, Type

from jobs.remote.offload_runner.protocol import AT_LIMIT, THINKING, TOOL
from jobs.remote.offload_runner.steps.agent_output import (
    EventStream,
    Output,
    one_line,
    table,
    tables,
    whole,
    word,
)

# opencode asks again for ever when answers are cut off.
_MOST_CUT_ANSWERS = 3
_NO_REASON = "It does not say why."


class GeminiEvents(EventStream):
    """Gemini CLI's `--output-format stream-json`: https://geminicli.com/docs/cli/headless/."""

    def _hear(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "init":
            self.about.update(session=word(event, "session_id"), model=word(event, "model"))
            self._enter(THINKING)
        elif kind == "message" and event.get("role") == "assistant":
            self._say(event.get("content"))
        elif kind == "tool_use":
            self._use_tool(event.get("tool_name"), event.get("parameters"))
        elif kind == "tool_result" and event.get("status") == "error":
            self._fail_tool(table(event, "error").get("message"))
        elif kind == "tool_result":
            self._enter(THINKING)
        elif kind == "error":
            self._error = one_line(event.get("message"))
            self._show("%s: %s" % (event.get("severity"), self._error))
        elif kind == "result":
            stats = table(event, "stats")
            if stats:
                self._count(stats.get("input_tokens"), stats.get("output_tokens"), stats.get("cached"))
            why = one_line(table(event, "error").get("message")) or self._error or _NO_REASON
            self._end("" if event.get("status") == "success" else why)


class ClaudeEvents(EventStream):
    """Claude Code's `--output-format stream-json`: https://code.claude.com/docs/en/headless.

    A failed call of the model ends with `"subtype": "success"`; `is_error` tells.
    """

    def _hear(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "system":
            self._hear_system(event)
        elif kind == "assistant" and not event.get("is_api_error_message"):
            for block in tables(table(event, "message").get("content")):
                if block.get("type") == "text":
                    self._say(block.get("text"))
                elif block.get("type") == "tool_use":
                    self._use_tool(block.get("name"), block.get("input"))
        elif kind == "user":
            for block in tables(table(event, "message").get("content")):
                if block.get("is_error") is True:
                    self._fail_tool(block.get("content"))
            self._enter(THINKING)
        elif kind == "result":
            self._hear_result(event)

    def _hear_system(self, event: Mapping[str, Any]) -> None:
        if event.get("subtype") == "init":
            self.about.update(session=word(event, "session_id"), model=word(event, "model"))
            self._enter(THINKING)
        elif event.get("subtype") == "api_retry":
            self._error = one_line("%s (status %s)" % (event.get("error"), event.get("error_status")))
            self._show("The model is asked again: %s" % self._error)
            if event.get("error") in ("rate_limit", "overloaded"):
                self._enter(AT_LIMIT, self._error)

    def _hear_result(self, event: Mapping[str, Any]) -> None:
        counts = table(event, "usage")
        cached = whole(counts.get("cache_read_input_tokens"))
        fresh = whole(counts.get("input_tokens")) + whole(counts.get("cache_creation_input_tokens"))
        self._count(fresh + cached, counts.get("output_tokens"), cached)
        self._cost(event.get("total_cost_usd"))
        if event.get("is_error") is False and event.get("subtype") == "success":
            self._end()
        else:
            # `errors` is there when it was not the model that failed.
            said = event.get("result") or event.get("errors") or event.get("subtype")
            self._end(one_line(said) or self._error or _NO_REASON)


class CodexEvents(EventStream):
    """Codex's `exec --json`: https://developers.openai.com/codex/noninteractive."""

    _TOOLS = frozenset(("command_execution", "file_change", "mcp_tool_call", "web_search"))

    def _hear(self, event: Mapping[str, Any]) -> None:
        kind, item = event.get("type"), table(event, "item")
        if kind == "thread.started":
            self.about["session"] = word(event, "thread_id")
            self._enter(THINKING)
        elif kind == "item.started" and item.get("type") in self._TOOLS:
            self._enter(TOOL, item.get("type"))
        elif kind == "item.completed" and item.get("type") == "agent_message":
            self._say(item.get("text"))
            self._say("\n")
        elif kind == "item.completed" and item.get("type") == "error":
            self._show(one_line(item.get("message")))
        elif kind == "item.completed" and item.get("type") in self._TOOLS:
            self._use_tool(item.get("type"), item.get("command") or item.get("changes") or item.get("tool"))
            if item.get("status") in ("failed", "declined"):
                self._fail_tool(item.get("aggregated_output") or item.get("error") or item.get("status"))
            self._enter(THINKING)
        elif kind == "error":
            self._error = one_line(event.get("message"))
            self._show(self._error)
        elif kind == "turn.completed":
            counts = table(event, "usage")
            self._count(
                counts.get("input_tokens"), counts.get("output_tokens"), counts.get("cached_input_tokens")
            )
            self._end()
        elif kind == "turn.failed":
            self._end(one_line(table(event, "error").get("message")) or self._error or _NO_REASON)


class OpencodeEvents(EventStream):
    """opencode's `run --format json`: https://opencode.ai/docs/cli/. No event says that it is done."""

    _cut_answers = 0

    def _hear(self, event: Mapping[str, Any]) -> None:
        kind, part = event.get("type"), table(event, "part")
        self.about["session"] = word(event, "sessionID") or self.about["session"]
        if kind == "step_start":
            self._enter(THINKING)
        elif kind == "text":
            self._say(part.get("text"))
        elif kind == "tool_use":
            state = table(part, "state")
            self._use_tool(part.get("tool"), state.get("input"))
            if state.get("status") == "error":
                self._fail_tool(state.get("error"))
            # It tells of a tool when the tool has ended.
            self._enter(THINKING)
        elif kind == "step_finish":
            self._hear_step(part)
        elif kind == "error":
            error = table(event, "error")
            why = one_line(table(error, "data").get("message") or error.get("name"))
            self._end(why or _NO_REASON)

    def _hear_step(self, part: Mapping[str, Any]) -> None:
        counts = table(part, "tokens")
        cached, written = (whole(table(counts, "cache").get(name)) for name in ("read", "write"))
        made = whole(counts.get("output")) + whole(counts.get("reasoning"))
        self._count(whole(counts.get("input")) + cached + written, made, cached)
        self._cost(part.get("cost"))
        # The last step counts: one that calls tools is followed by another.
        reason = part.get("reason")
        self._is_ended = False
        if reason == "stop":
            self._end()
        if reason not in ("stop", "tool-calls"):
            self._error = "The model's answer ended with the reason %r." % one_line(reason)
            self._cut_answers += 1
            if self._cut_answers == _MOST_CUT_ANSWERS:
                self.cut(self._error)


OUTPUTS: Mapping[str, Type[Output]] = {
    "text": Output,
    "gemini": GeminiEvents,
    "claude": ClaudeEvents,
    "codex": CodexEvents,
    "opencode": OpencodeEvents,
}
