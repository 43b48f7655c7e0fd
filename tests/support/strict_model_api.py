"""A model API on loopback that refuses what a gateway must not send, and fails in the ways that APIs fail."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.support.serving import serving

KEY = "planted-gateway-key-51d2"
_KNOWN = {
    "host",
    "content-length",
    "content-type",
    "accept",
    "accept-encoding",
    "user-agent",
    "x-goog-api-key",
}


@dataclass
class StrictApi:
    """`served`: the paths that were answered; `wrong`: what requests had that they must not have."""

    port: int = 0
    served: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Return the address."""
        return f"http://127.0.0.1:{self.port}"


def piece(text: str, output: int) -> bytes:
    """Return one event of a stream, with the counts up to it."""
    part = {"candidates": [{"content": {"parts": [{"text": text}]}}]}
    counts = {"promptTokenCount": 10, "candidatesTokenCount": output, "cachedContentTokenCount": 4}
    return b"data: " + json.dumps({**part, "usageMetadata": counts}).encode() + b"\r\n\r\n"


class _Handler(http.server.BaseHTTPRequestHandler):
    api: StrictApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """List models; the stream that waits for it goes on."""
        self._check()
        self.api.go_on.set()
        self._answer(200, b'{"models": []}')

    def do_POST(self) -> None:
        """Answer as the model's name says."""
        self._check()
        self.rfile.read(int(self.headers["Content-Length"]))
        mode = self.path.split("/models/")[1].split(":")[0]
        getattr(self, "_" + mode)()

    def _check(self) -> None:
        self.api.served.append(self.path)
        if self.headers["x-goog-api-key"] != KEY or self.headers["Accept-Encoding"] != "identity":
            self.api.wrong.append(str(self.headers))
        unknown = {name.lower() for name in self.headers} - _KNOWN
        if unknown or "key=" in self.path:
            self.api.wrong.append(f"{self.path} {unknown}")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _good(self) -> None:
        self._stream()
        self._chunk(piece("one", 1))
        assert self.api.go_on.wait(30)
        data = piece("two", 7)
        self._chunk(data[:20])
        self._chunk(data[20:])
        self._chunk(b"")

    def _limited(self) -> None:
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}
        self._answer(429, json.dumps({"error": {"code": 429, "details": [info], "message": KEY}}).encode())

    def _later(self) -> None:
        self._answer(503, b"busy", Retry_After="120")

    def _overloaded(self) -> None:
        self._answer(529, b"")

    def _moved(self) -> None:
        self._answer(307, b"", Location="http://127.0.0.1:9/")

    def _garbage(self) -> None:
        self._answer(200, b"[" * 100_000, Content_Type="application/json", Set_Cookie="a=b")

    def _cut(self) -> None:
        self._stream()
        self._chunk(piece("half", 3))
        self.close_connection = True

    def _endless(self) -> None:
        self._stream()
        with suppress(OSError):
            for count in range(1, 1_000_000):
                self._chunk(piece("x" * 1000, count))
        self.close_connection = True

    def _hangup(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@contextmanager
def strict_api() -> Iterator[StrictApi]:
    """Serve one on a free port."""
    api = StrictApi()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    api.port = server.server_port
    with serving(server):
        try:
            yield api
        finally:
            api.go_on.set()
