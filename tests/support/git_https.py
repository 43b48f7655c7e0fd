"""A git server that demands a login: git's http-backend behind TLS, on loopback, with a log of who came."""

from __future__ import annotations

import base64
import datetime
import http.server
import ipaddress
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.serving import serving

ADDRESS = "127.0.0.1"


def make_certificate(folder: Path) -> Path:
    """Write a certificate for loopback with its key into one PEM file; return it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ADDRESS)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


@dataclass
class GitHttps:
    """The server. `seen` holds (path, user, password) of each request; a password of None: no login."""

    projects: Path
    password: str
    certificate: Path
    port: int = 0
    redirect: dict[str, str] = field(default_factory=dict)  # path prefix -> address
    seen: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def url(self, name: str) -> str:
        """Return the address of a repository below `projects`."""
        return f"https://{ADDRESS}:{self.port}/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    git: GitHttps

    def do_GET(self) -> None:
        git, (path, _, query) = self.git, self.path.partition("?")
        user, password = self._login()
        git.seen.append((path, user, password))
        for prefix, address in git.redirect.items():
            if path.startswith(prefix):
                self.send_response(302)
                self.send_header("Location", address + self.path.removeprefix(prefix))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        if password != git.password:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(git.projects),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            "REMOTE_USER": user or "",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def _login(self) -> tuple[str | None, str | None]:
        kind, _, text = (self.headers.get("Authorization") or "").partition(" ")
        if kind != "Basic":
            return None, None
        user, _, password = base64.b64decode(text).decode().partition(":")
        return user, password

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@contextmanager
def git_https(folder: Path, password: str) -> Iterator[GitHttps]:
    """Serve the repositories below `folder/projects` to clients that know the password."""
    folder.mkdir(parents=True, exist_ok=True)
    projects = folder / "projects"
    projects.mkdir(exist_ok=True)
    git = GitHttps(projects, password, make_certificate(folder))
    handler = type("Handler", (_Handler,), {"git": git})
    server = http.server.ThreadingHTTPServer((ADDRESS, 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(git.certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    git.port = server.server_port
    with serving(server):
        yield git
