"""The gateway of one task: an HTTP server on connections that its runner hands over, without a port here."""

from __future__ import annotations

import contextlib
import hmac
import http.client
import http.server
import json
import os
import re
import secrets
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from jobs.remote.offload_runner.gateway.apis import APIS, LIMITED, Api, Meter, Usage, parsed, wait_seconds
from jobs.remote.offload_runner.gateway.reach import outside
from jobs.remote.offload_runner.gateway.spent import Spent
from jobs.remote.offload_runner.protocol import MODEL_CALL, MODEL_LIMIT, NOTE

_CONNECTIONS = 16
_REQUEST_BYTES = 64 * 1024 * 1024
_ANSWER_BYTES = 64 * 1024 * 1024
_ERROR_BYTES = 1024 * 1024
_CHUNK = 64 * 1024
# A model may think for minutes before it says a word; the task's limit ends what takes longer.
_SILENCE_SECONDS = 600.0
_MOST_CALLS = 5000
_BYTES_A_TOKEN = 4
_MILLION = 1_000_000
_SENT = re.compile(r"content-type|accept|user-agent|anthropic-[a-z-]+|openai-beta|x-goog-api-client")
_RETURNED = re.compile(
    r"content-type|retry-after(-ms)?|(x-|anthropic-)ratelimit-[a-z0-9-]+|(x-)?request-id|x-should-retry"
)
_QUERY = frozenset({"alt", "pageSize", "pageToken", "beta", "limit", "after_id", "before_id"})


class Gateway:
    """Passes one task's calls on to the API of its plan, and adds the key."""

    def __init__(
        self,
        task: str,
        spec: Mapping[str, Any],
        key: str,
        spent: Spent,
        record: Callable[..., object],
    ) -> None:
        """Make it. `spec`: the plan's `gateway`; `record(kind, **fields)` writes to the journal."""
        self.task = task
        self.name = str(spec["api"])
        self.api: Api = APIS[self.name]
        self.token = secrets.token_urlsafe(24)
        self.spent = spent
        self._env: Dict[str, str] = dict(spec.get("env") or {})
        self._address = str(spec.get("url") or self.api.address).rstrip("/")
        self._budget: Mapping[str, Any] = spec.get("budget") or {}
        self._prices: Mapping[str, float] = spec.get("prices") or {}
        self._key = key
        self._record = record
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        self._is_told = False
        self._is_closed = False

    def environment(self, port: int) -> Dict[str, str]:
        """Return the variables that tell the task of its gateway."""
        url = "http://127.0.0.1:%d/%s" % (port, self.token)
        env = {name: text.replace("{url}", url) for name, text in self._env.items()}
        # A proxy that the worker needs for the world does not know this address.
        for name in ("no_proxy", "NO_PROXY"):
            env[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
        return {**env, "OFFLOAD_MODEL_URL": url}

    def serve(self, connection: socket.socket) -> None:
        """Answer on a connection, in a thread of its own."""
        if self._is_closed or not self._free.acquire(blocking=False):
            connection.close()
            return
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):
                _Handler(connection, ("", 0), self)  # type: ignore[arg-type]
        finally:
            connection.close()
            self._free.release()

    def close(self) -> None:
        """Take no further connection; the runner closes those that are open."""
        self._is_closed = True

    def is_addressed(self, token: str) -> bool:
        """Tell whether a request has this task's token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def refusal(self, call: object, tokens: Optional[int]) -> str:
        """Return why a call of about so many tokens is not passed on; empty: it is, and is under way.

        None: it uses no tokens.
        """
        with self.spent.lock:
            said = self._used_up(0 if tokens is None else self._others(call), Usage())
            if not said and tokens is not None:
                self.spent.under_way[call] = tokens
            tell, self._is_told = bool(said) and not self._is_told, self._is_told or bool(said)
        if tell:
            self.record(NOTE, text=said)
        return said

    def is_used_up(self, call: object, usage: Usage) -> bool:
        """Tell whether a call that is under way uses up the budget, with all the others."""
        with self.spent.lock:
            self.spent.under_way[call] = max(usage.total, self.spent.under_way.get(call, 0))
            return bool(self._used_up(self._others(call), usage))

    def _others(self, call: object) -> int:
        """Return the tokens of the other calls that are under way."""
        return sum(tokens for other, tokens in self.spent.under_way.items() if other is not call)

    def _used_up(self, others: int, usage: Usage) -> str:
        most, money = self._budget.get("tokens"), self._budget.get("dollars")
        calls = self._budget.get("calls") or _MOST_CALLS
        tokens = usage.total + others
        dollars = (self.dollars(usage) or 0.0) + (self.dollars(Usage(others)) or 0.0)
        if most and self.spent.tokens + tokens >= most:
            return "The job's budget for its agent is used up: %d of %d tokens." % (self.spent.tokens, most)
        if money and self.spent.dollars + dollars >= money:
            return "The job's budget for its agent is used up: %.2f of %.2f dollars." % (
                self.spent.dollars,
                money,
            )
        if self.spent.calls >= calls:
            return "The job's budget for its agent is used up: %d calls." % calls
        return ""

    def dollars(self, usage: Usage) -> Optional[float]:
        """Return what a call cost; None without prices."""
        if not self._prices:
            return None
        whole = (usage.input - usage.cached) * self._prices["input"] + usage.output * self._prices["output"]
        whole += usage.cached * self._prices.get("cached", self._prices["input"])
        return round(whole / _MILLION, 6)

    def end(self, call: object) -> None:
        """Note that a call is under way no more."""
        with self.spent.lock:
            self.spent.under_way.pop(call, None)

    def count(self, call: object, fields: Dict[str, Any], usage: Usage) -> None:
        """Record a call that has ended."""
        event = {"task": self.task, "api": self.name, **fields}
        event.update(input=usage.input, output=usage.output, cached=usage.cached)
        event["dollars"] = self.dollars(usage)
        self.spent.add(event)
        self.end(call)
        self.record(MODEL_CALL, **event)

    def record(self, kind: str, **fields: Any) -> None:
        """Write an event; on a full disk there is none, and the runner ends the job for it."""
        with contextlib.suppress(OSError):
            self._record(kind, **fields)

    def connect(self) -> Tuple[http.client.HTTPConnection, str]:
        """Return a connection to the API, by way of the machine's proxy, and the beginning of its paths."""
        parts = urllib.parse.urlsplit(self._address)
        host, port = parts.hostname or "", parts.port
        proxy = urllib.request.getproxies().get(parts.scheme)
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=_SILENCE_SECONDS), parts.path
        context = ssl.create_default_context()
        if not proxy or urllib.request.proxy_bypass(host):
            return http.client.HTTPSConnection(
                host, port, timeout=_SILENCE_SECONDS, context=context
            ), parts.path
        by = urllib.parse.urlsplit(proxy)
        line = http.client.HTTPSConnection(
            by.hostname or "", by.port, timeout=_SILENCE_SECONDS, context=context
        )
        line.set_tunnel(host, port or 443)
        return line, parts.path

    def headers(self, given: Mapping[str, str]) -> Dict[str, str]:
        """Return the headers of a request to the API: known ones of the agent's, and the key."""
        sent = {name: text for name, text in given.items() if _SENT.fullmatch(name.lower())}
        # A compressed answer could not be counted.
        return {**sent, "Accept-Encoding": "identity", self.api.header: self.api.scheme + self._key}

    def without_key(self, body: bytes) -> bytes:
        """Return a body without the key: an API may repeat it in an error."""
        return body.replace(self._key.encode(), b"[redacted]") if self._key else body


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Gateway  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_SECONDS

    def do_GET(self) -> None:
        """Pass a call on."""
        self._forward()

    def do_POST(self) -> None:
        """Pass a call on."""
        self._forward()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the journal has the calls."""

    def _forward(self) -> None:
        gateway = self.server
        target, _, query = self.path.partition("?")
        words = target.split("/", 3)
        if len(words) != 4 or words[0] or not gateway.is_addressed(words[1]) or words[2] != gateway.name:
            self._refuse(404, "This is no address of the job's gateway.")
            return
        path = "/" + words[3]
        uses = next((u for m, p, u in gateway.api.calls if m == self.command and p.fullmatch(path)), None)
        if uses is None:
            self._refuse(403, "The gateway passes on calls of models only, not %s %s." % (self.command, path))
            return
        body = self._body()
        if body is None:
            self._refuse(400, "The request's body is missing, malformed or larger than 64 MiB.")
            return
        elsewhere = outside(gateway.name, body) if self.command == "POST" else ""
        if elsewhere:
            self._refuse(
                403, "The gateway passes on no call that has the API reach elsewhere: %s." % elsewhere
            )
            return
        refusal = gateway.refusal(self, len(body) // _BYTES_A_TOKEN if uses else None)
        if refusal:
            self._refuse(403, refusal)
            return
        kept = [pair for pair in urllib.parse.parse_qsl(query[:4096]) if pair[0] in _QUERY]
        whole = path + ("?" + urllib.parse.urlencode(kept) if kept else "")
        self._pass_on(whole, body, _model(path, body), uses)

    def _body(self) -> Optional[bytes]:
        length, coding = self.headers.get_all("Content-Length"), self.headers.get_all("Transfer-Encoding")
        if coding is not None:
            if length is not None or [text.strip().lower() for text in coding] != ["chunked"]:
                return None
            return self._chunks()
        if length is None:
            return b"" if self.command == "GET" else None
        if len(length) != 1 or not re.fullmatch(r"[0-9]{1,9}", length[0]) or int(length[0]) > _REQUEST_BYTES:
            return None
        data = self.rfile.read(int(length[0]))
        return data if len(data) == int(length[0]) else None

    def _chunks(self) -> Optional[bytes]:
        data = bytearray()
        while True:
            size = self.rfile.readline(64).split(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size) or len(data) + int(size, 16) > _REQUEST_BYTES:
                return None
            data += self.rfile.read(int(size, 16))
            if self.rfile.readline(8) != b"\r\n":
                return None
            if int(size, 16) == 0:
                return bytes(data)

    def _refuse(self, status: int, message: str) -> None:
        """Answer with an error in the form that all three APIs use. The connection ends."""
        self.close_connection = True
        error = {"code": status, "message": message, "status": "PERMISSION_DENIED", "type": "offload_gateway"}
        self._answer(status, json.dumps({"type": "error", "error": error}).encode(), {})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, path: str, body: bytes, model: str, uses: bool) -> None:
        gateway = self.server
        began = time.monotonic()
        fields: Dict[str, Any] = {"model": model, "status": 0, "error": ""}
        meter = Meter(gateway.name, False)
        line, prefix = gateway.connect()
        try:
            try:
                line.request(
                    self.command, prefix + path, body or None, gateway.headers(dict(self.headers.items()))
                )
                response = line.getresponse()
            except (OSError, http.client.HTTPException) as error:
                fields["error"] = "no_answer"
                text = "The gateway got no answer from %s: %s." % (line.host, error or type(error).__name__)
                self._refuse(502, text)
                return
            fields["status"] = response.status
            headers = {name.title(): text for name, text in response.getheaders() if _is_returned(name)}
            if response.status != 200:
                self._pass_error(response, headers)
                return
            meter = Meter(gateway.name, headers.get("Content-Type", "").startswith("text/event-stream"))
            fields["error"] = self._stream(response, headers, meter)
        except OSError:
            fields["error"] = fields["error"] or "agent_gone"
        finally:
            line.close()
            meter.finish()
            usage = meter.usage if uses else Usage()
            fields["estimated"] = uses and bool(meter.bytes) and not meter.is_counted
            if fields["estimated"]:
                usage = Usage(len(body) // _BYTES_A_TOKEN, meter.bytes // _BYTES_A_TOKEN)
            fields["seconds"] = round(time.monotonic() - began, 3)
            gateway.count(self, fields, usage)

    def _pass_error(self, response: http.client.HTTPResponse, headers: Dict[str, str]) -> None:
        try:
            said = response.read(_ERROR_BYTES)
        except http.client.HTTPException:
            said = b""
        if response.status in LIMITED:
            at = datetime.now(timezone.utc)
            wait = wait_seconds({name.lower(): text for name, text in response.getheaders()}, said, at)
            until = None if wait is None else (at + timedelta(seconds=wait)).isoformat(timespec="seconds")
            gateway = self.server
            gateway.record(
                MODEL_LIMIT, task=gateway.task, api=gateway.name, status=response.status,
                until=until and until.replace("+00:00", "Z"),
            )  # fmt: skip
        # A redirect is not passed on: it could lead the agent to another host.
        status = 502 if 300 <= response.status < 400 or response.status < 200 else response.status
        self._answer(status, self.server.without_key(said), headers)

    def _stream(self, response: http.client.HTTPResponse, headers: Dict[str, str], meter: Meter) -> str:
        """Pass an answer on as it comes; return what cut it off, or nothing."""
        self.send_response(200)
        for name, text in headers.items():
            self.send_header(name, text)
        length = response.getheader("Content-Length")
        has_length = length is not None and length.isdigit()
        chunked = not has_length and self.request_version == "HTTP/1.1"
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif has_length:
            self.send_header("Content-Length", str(length))
        if not chunked and not has_length:
            self.close_connection = True
        self.end_headers()
        cut = ""
        while not cut:
            try:
                data = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException):
                cut = "cut"
                break
            if not data:
                cut = "cut" if has_length and meter.bytes < int(length or 0) else ""
                break
            meter.feed(data)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
            if meter.bytes > _ANSWER_BYTES:
                cut = "too_large"
            elif self.server.is_used_up(self, meter.usage) and not _ends(data):
                cut = "budget"
        if cut:
            # Without the end of the stream the agent sees that it was cut.
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")
        return cut


def _ends(data: bytes) -> bool:
    """Tell whether this is the last piece of a stream: its counts come with it."""
    return any(
        word in data for word in (b'"finishReason"', b'"message_stop"', b"[DONE]", b"response.completed")
    )


def _is_returned(name: str) -> bool:
    return _RETURNED.fullmatch(name.lower()) is not None


def _model(path: str, body: bytes) -> str:
    """Return the model that a request names."""
    match = re.search(r"/models/([^:/]+)", path)
    if match:
        return match.group(1)
    value = parsed(body)
    name = value.get("model") if isinstance(value, dict) else None
    return re.sub(r"[^A-Za-z0-9._:/@-]", "", name)[:100] if isinstance(name, str) else ""
