"""The simulated Google behind TLS, and a server that gives tokens: the credentials' own path, on loopback."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from jobs.simulator.http import Handler
from jobs.simulator.server import Simulator
from tests.support.git_https import make_certificate

ROBOT = "robot@demo-project.iam.gserviceaccount.com"
TOKEN = "ya29.a-token-that-nobody-may-see"


class TokenServer(ThreadingHTTPServer):
    """Answers each request for a token: with `answer` and `status`. `asked` counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tokens)
        self.status = 200
        self.answer: dict[str, Any] = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        self.asked = 0

    def refuse(self) -> None:
        """Give no token any more, as Google does after a revocation."""
        self.status, self.answer = 400, {"error": "invalid_grant", "error_description": "Token revoked."}


class _Tokens(BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        self.server.asked += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def token_server() -> Iterator[TokenServer]:
    """Give tokens on a loopback port."""
    with TokenServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def service_account(folder: Path, tokens: TokenServer) -> Path:
    """Write a service account's key file, whose tokens come from `tokens`; return it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "service.json"
    values = {
        "type": "service_account", "client_email": ROBOT, "private_key": key.decode(), "private_key_id": "1",
        "token_uri": f"http://127.0.0.1:{tokens.server_port}/token", "project_id": "demo-project",
    }  # fmt: skip
    file.write_text(json.dumps(values))
    return file


class _Recording(Handler):
    """Remembers what came as Authorization."""

    seen: list[str]

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            self.seen.append(self.headers.get("Authorization") or "")
        return parsed


@contextmanager
def google_https(simulator: Simulator, folder: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Serve a simulator behind TLS; give the variables that lead there, and the Authorizations that came."""
    certificate = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    seen: list[str] = []
    kind = type("Recording", (_Recording,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.simulator = simulator  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"https://127.0.0.1:{server.server_port}"
        moved = {name: value.replace(simulator.url, url) for name, value in simulator.overrides.items()}
        try:
            yield {**moved, "REQUESTS_CA_BUNDLE": str(certificate)}, seen
        finally:
            server.shutdown()
