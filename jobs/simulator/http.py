"""HTTP on loopback in front of the simulator."""

from __future__ import annotations

import contextlib
import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from jobs.simulator.world import ApiError, Json


class Cut(Exception):
    """The connection ends here."""


class Page(Exception):
    """The answer is a page for people."""


class Answers(Protocol):
    """What answers requests."""

    def answer(self, method: str, target: str, body: bytes) -> Json:
        """Return the answer. Raises `ApiError`, `Page`, and `Cut` to end the connection instead."""

    def refusal(self, error: ApiError) -> Json | None:
        """Return the body that tells of an error; None: a page for people."""


class Server(ThreadingHTTPServer):
    """Serves `simulator`; when it is closed, so are its connections."""

    daemon_threads = True
    block_on_close = False
    simulator: Answers

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, and serve it."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection, and end it."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and end every connection."""
        super().server_close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to report."""


class Handler(BaseHTTPRequestHandler):
    """Turns answers and refusals into HTTP."""

    protocol_version = "HTTP/1.1"
    server: Server
    # Head and body in one packet: else the body waits for the client to acknowledge the head, 40 ms later.
    wbufsize = -1
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = 200
        found: Json | None
        try:
            found = self.server.simulator.answer(self.command, self.path, body)
        except Cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        except Page:
            found = None
        except ApiError as error:
            status = error.status
            found = self.server.simulator.refusal(error)
        text = b"<html>Welcome.</html>" if found is None else json.dumps(found).encode()
        self.send_response(status)
        kind = "text/html" if found is None else "application/json; charset=UTF-8"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = do_PATCH = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
