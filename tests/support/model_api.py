"""A model API on loopback for real agents: Gemini's, and the formats of `model_formats`."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.model_formats import FORMATS, Format
from tests.support.serving import serving

AGENT_BIN = Path(__file__).parent / "gemini" / "node_modules" / ".bin"

_RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}
_SAID = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Too many requests.", "details": [_RETRY]}
_LIMIT = json.dumps({"error": _SAID}).encode()


@dataclass
class ModelApi:
    """`answer`: what the model says. `asked` holds (path, key, body) of each request.

    `call`: takes a body; returns the tool that the model calls (name, arguments), or None to answer.
    `finish`: why the answer ends; empty: it is cut off. `limits`: how many calls are answered with status 429
    first; the next one waits for `go_on`. `wrong`: what was wrong with requests of the other formats.
    """

    answer: str = "{}"
    call: Callable[[str], tuple[str, dict[str, Any]] | None] | None = None
    finish: str = "STOP"
    limits: int = 0
    limit_seconds: int = 1
    go_on: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return the address."""
        return f"http://127.0.0.1:{self.port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    api: ModelApi

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        for known in FORMATS:
            if self.path.partition("?")[0] == known.path:
                self._answer_in(known, body)
                return
        self.api.asked.append((self.path, self.headers.get("x-goog-api-key") or "", body))
        if self.api.limits:
            self.api.limits -= 1
            self._answer(429, _LIMIT, "application/json")
            return
        assert self.api.go_on.wait(60)
        call = self.api.call(body) if self.api.call and json.loads(body).get("tools") else None
        said: dict[str, Any] = {"text": _complexity(body) or self.api.answer}
        if call is not None:
            said = {"functionCall": {"name": call[0], "args": call[1]}}
        part: dict[str, Any] = {"content": {"parts": [said], "role": "model"}}
        part |= {"finishReason": self.api.finish} if self.api.finish else {}
        usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        data = json.dumps({"candidates": [{**part, "index": 0}], "usageMetadata": usage}).encode()
        streams = "streamGenerateContent" in self.path
        data = b"data: " + data + b"\r\n\r\n" if streams else data
        self._answer(200, data, "text/event-stream" if streams else "application/json")

    def _answer_in(self, known: Format, text: str) -> None:
        given = {name.lower(): value for name, value in self.headers.items()}
        self.api.asked.append((self.path, known.key(given), text))
        body = json.loads(text)
        faults = known.faults(given, body)
        if faults:
            self.api.wrong += faults
            self._answer(400, json.dumps({"error": {"message": str(faults)}}).encode(), "application/json")
        elif self.api.limits:
            self.api.limits -= 1
            error, headers = known.limit(self.api.limit_seconds)
            self._answer(429, json.dumps(error).encode(), "application/json", headers)
        else:
            assert self.api.go_on.wait(60)
            call = self.api.call(text) if self.api.call and body.get("tools") else None
            is_cut = not self.api.finish
            self._answer(200, known.stream(body, self.api.answer, call, is_cut=is_cut), "text/event-stream")

    def _answer(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


def _complexity(body: str) -> str:
    """Return the answer to Gemini CLI's own question which model it should use; empty for any other."""
    asks = "responseJsonSchema" in body and '"complexity_score":{"type"' in body.replace(" ", "")
    return json.dumps({"complexity_reasoning": "Simple.", "complexity_score": 10}) if asks else ""


def leave_plan_mode(command: str) -> Callable[[str], tuple[str, dict[str, Any]] | None]:
    """Return the calls of a model that leaves Gemini CLI's plan mode by its own tools and runs a command."""

    def call(body: str) -> tuple[str, dict[str, Any]] | None:
        used = re.findall(r'"functionResponse":.{0,200}?"name": ?"(\w+)"', body)
        place = re.search(r"plans directory \(([^)]+)\)", body)
        if used.count("write_file") == 0:
            return "write_file", {"file_path": "/nowhere/plan.md", "content": "x"}
        if used.count("write_file") == 1:
            folder = place.group(1) if place else "/nowhere"
            return "write_file", {"file_path": f"{folder}/plan.md", "content": "# Plan\n1. Run it.\n"}
        if "exit_plan_mode" not in used:
            return "exit_plan_mode", {"plan_filename": "plan.md", "plan_path": "plan.md"}
        if "run_shell_command" not in used:
            return "run_shell_command", {"command": command, "description": "look"}
        return None

    return call


@contextmanager
def model_api() -> Iterator[ModelApi]:
    """Serve a model on a free port."""
    api = ModelApi()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    api.port = server.server_port
    api.go_on.set()
    with serving(server):
        try:
            yield api
        finally:
            api.go_on.set()
