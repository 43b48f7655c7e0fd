"""What is around a machine: the metadata server at its real address, and a registry, on their own network."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import subprocess
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

METADATA = "169.254.169.254"
GATEWAY = "10.128.0.1"
MACHINE = "10.128.0.2"
REGISTRY = f"{GATEWAY}:5000"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_PASS = "Basic " + base64.b64encode(b"_dcgcr_token:of-the-machine").decode()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class Cloud:
    """Servers in a network namespace that a thread of this process holds.

    `attributes`: every value that the machine published, as (path, text), oldest first. `blobs`: what the
    registry has, by digest; `refused`: requests without the machine's credentials.
    """

    def __init__(self) -> None:
        self.attributes: list[tuple[str, str]] = []
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.refused = 0
        self._servers: list[ThreadingHTTPServer] = []
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._failed: BaseException | None = None
        self.network = ""

    def start(self) -> Cloud:
        """Make the network and serve in it."""
        made = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(made,), daemon=True)
        keeper.start()
        self._threads.append(keeper)
        made.wait()
        if self._failed is not None:
            raise self._failed
        return self

    def _keep(self, made: threading.Event) -> None:
        # Only this thread moves; sockets that it makes, and programs that it starts, belong to the network.
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "a new network namespace")
            self.network = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
            _ip("link", "set", "lo", "up")
            _ip("addr", "add", f"{METADATA}/32", "dev", "lo")
            _ip("addr", "add", f"{GATEWAY}/32", "dev", "lo")
            for place, handler in (((METADATA, 80), _Metadata), ((GATEWAY, 5000), _Registry)):
                server = ThreadingHTTPServer(place, partial(handler, self))
                server.daemon_threads = True
                self._servers.append(server)
                thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
                thread.start()
                self._threads.append(thread)
        except BaseException as error:
            self._failed = error
        made.set()
        self._over.wait()

    def connect(self, pid: int) -> None:
        """Give the machine whose first process this is its network interface."""
        inside = ["nsenter", f"--net={self.network}", "ip"]
        lines = [
            [*inside, "link", "add", "cloud0", "type", "veth", "peer", "name", "eth0", "netns", str(pid)],
            [*inside, "addr", "add", f"{GATEWAY}/24", "dev", "cloud0"],
            [*inside, "link", "set", "cloud0", "up"],
        ]
        there = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
        lines += [
            [*there, "addr", "add", f"{MACHINE}/24", "dev", "eth0"],
            [*there, "link", "set", "eth0", "up"],
            [*there, "route", "add", "default", "via", GATEWAY],
        ]
        for line in lines:
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}: {done.stderr}"

    def reports(self) -> list[dict[str, Any]]:
        """Return what the machine published about its boot, oldest first."""
        there = "/computeMetadata/v1/instance/guest-attributes/offload/boot"
        return [json.loads(text) for path, text in self.attributes if path == there]

    def stop(self) -> None:
        """End the servers; the network goes with its thread."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._over.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, cloud: Cloud, *args: Any) -> None:
        self.cloud = cloud
        super().__init__(*args)

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Metadata(_Handler):
    """https://cloud.google.com/compute/docs/metadata/manage-guest-attributes"""

    def do_PUT(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.headers.get("Metadata-Flavor") != "Google":
            return self.answer(403)
        self.cloud.attributes.append((self.path, text))
        return self.answer(200)

    def do_GET(self) -> None:
        self.answer(200 if self.headers.get("Metadata-Flavor") == "Google" else 403, b"metadata")


class _Registry(_Handler):
    """https://distribution.github.io/distribution/spec/api/"""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != _PASS:
            self.cloud.refused += 1
            return self.answer(401, b"{}", WWW_Authenticate='Basic realm="registry"')
        if self.path == "/v2/":
            return self.answer(200, b"{}")
        found = self.cloud.blobs.get(self.path.rpartition("/")[2])
        if found is None:
            said = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return self.answer(404, json.dumps(said).encode(), Content_Type="application/json")
        kind, data = found
        digest = self.path.rpartition("/")[2]
        return self.answer(200, data, Content_Type=kind, Docker_Content_Digest=digest)

    do_HEAD = do_GET
