"""What model APIs other than Gemini's take and answer, as far as real agents need it. Strict about requests.

Sources: https://docs.anthropic.com/en/api/messages-streaming, https://platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

INPUT, CACHED, OUTPUT = 1200, 200, 34
Call = tuple[str, dict[str, Any]]
_numbers = itertools.count(1)  # Claude Code makes one of two messages or calls with the same id


@dataclass(frozen=True)
class Format:
    """A wire format. `path`: of its call; `needs`: fields of a request; `limit`: its error, and headers,
    for a limit that ends in so many seconds.

    `events` takes a request, a text and a call of a tool (or None); it returns the events of a stream. `last`
    is the event without which an answer is cut off.
    """

    path: str
    key: Callable[[Mapping[str, str]], str]
    needs: tuple[str, ...]
    events: Callable[[dict[str, Any], str, Call | None], list[tuple[str, Any]]]
    limit: Callable[[int], tuple[dict[str, Any], dict[str, str]]]

    def faults(self, headers: Mapping[str, str], body: Any) -> list[str]:
        """Return what is wrong with a request."""
        said = [f"no {name}" for name in self.needs if not isinstance(body, dict) or name not in body]
        said += [] if isinstance(body, dict) and body.get("stream") is True else ["it asks for no stream"]
        if self.path == "/v1/messages" and not headers.get("anthropic-version"):
            said.append("no anthropic-version")
        return said

    def stream(self, body: dict[str, Any], text: str, call: Call | None, *, is_cut: bool) -> bytes:
        """Return an answer as a stream."""
        events = self.events(body, text, call)
        lines = []
        for name, data in events[: len(events) // 2] if is_cut else events:
            payload = data if isinstance(data, str) else json.dumps(data)
            lines.append(f"event: {name}\ndata: {payload}\n\n" if name else f"data: {payload}\n\n")
        return "".join(lines).encode()


def _message(body: dict[str, Any], text: str, call: Call | None) -> list[tuple[str, Any]]:
    usage = {"input_tokens": INPUT - CACHED, "cache_read_input_tokens": CACHED, "output_tokens": OUTPUT}
    usage["cache_creation_input_tokens"] = 0
    start: dict[str, Any] = {"type": "text", "text": ""}
    delta: dict[str, Any] = {"type": "text_delta", "text": text}
    if call is not None:
        start = {"type": "tool_use", "id": f"toolu_{next(_numbers)}", "name": call[0], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
    message = {
        "id": f"msg_{next(_numbers)}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
    }
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
    ends = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ends, "usage": usage},
        {"type": "message_stop"},
    ]
    return [(event["type"], event) for event in events]


def _response(body: dict[str, Any], text: str, call: Call | None) -> list[tuple[str, Any]]:
    item: dict[str, Any] = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    item["content"] = [{"type": "output_text", "text": text, "annotations": []}]
    if call is not None:
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed"}
        item |= {"name": call[0], "arguments": json.dumps(call[1])}
    base = {"id": "resp_1", "object": "response", "created_at": int(time.time()), "model": body["model"]}
    usage = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
    usage_details = {
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    done = {**base, "status": "completed", "output": [item], "usage": {**usage, **usage_details}}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**base, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]
    return [(event["type"], {**event, "sequence_number": n}) for n, event in enumerate(events)]


def _chat(body: dict[str, Any], text: str, call: Call | None) -> list[tuple[str, Any]]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": int(time.time())}
    base["model"] = body["model"]
    delta: dict[str, Any] = {"role": "assistant", "content": text}
    if call is not None:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        tool = {"index": 0, "id": "call_1", "type": "function", "function": function}
        delta = {"role": "assistant", "tool_calls": [tool]}
    finish = "tool_calls" if call else "stop"
    usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
    details = {"prompt_tokens_details": {"cached_tokens": CACHED}}
    return [
        ("", {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
        ("", {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}),
        ("", {**base, "choices": [], "usage": {**usage, **details}}),
        ("", "[DONE]"),
    ]


def _anthropic_limit(seconds: int) -> tuple[dict[str, Any], dict[str, str]]:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "Too many requests."}}
    return error, {"retry-after": str(seconds)}


def _openai_limit(seconds: int) -> tuple[dict[str, Any], dict[str, str]]:
    if seconds > 60:
        # Of a subscription: Codex does not wait for its end.
        error = {"type": "usage_limit_reached", "message": "The usage limit has been reached."}
        return {"error": {**error, "resets_at": int(time.time()) + seconds}}, {}
    error = {"message": "Too many requests.", "type": "requests", "code": "rate_limit_exceeded"}
    return {"error": {**error, "param": None}}, {"retry-after": str(seconds)}


def _bearer(headers: Mapping[str, str]) -> str:
    return (headers.get("authorization") or "").removeprefix("Bearer ")


FORMATS = (
    Format(
        "/v1/messages",
        lambda headers: headers.get("x-api-key") or "",
        ("model", "max_tokens", "messages"),
        _message,
        _anthropic_limit,
    ),
    Format("/v1/responses", _bearer, ("model", "input"), _response, _openai_limit),
    Format("/v1/chat/completions", _bearer, ("model", "messages"), _chat, _openai_limit),
)
