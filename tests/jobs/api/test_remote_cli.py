"""The command line with OFFLOAD_URL: the same words, output and exit codes, on a real server's jobs."""

import json
import ssl
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.utils import timezone

from jobs.client.received import read_observed_pull_json, read_pull_json
from jobs.models import PullRequest, Repository
from jobs.serializers import pull_json
from tests.jobs.api.conftest import Served
from tests.support.cli import Cli
from tests.support.dashboard import until
from tests.support.serving import serving


@pytest.fixture
def remote(served: Served, tmp_path: Path) -> Cli:
    """A command line on another computer: a home of its own, and nothing in it."""
    (tmp_path / "cwd").mkdir()
    cli = Cli(tmp_path / "home", tmp_path / "cwd")
    cli.env |= {"OFFLOAD_URL": served.url.removesuffix("/api/v1"), "OFFLOAD_TOKEN": served.tokens["all"]}
    return cli


def test_what_is_read_is_what_is_read_there(served: Served, remote: Cli) -> None:
    shop = ("-R", "tinycart")
    logs = ("logs", "9", "review")
    listed: list[tuple[str, ...]] = [("ls",), ("ls", "-s", "succeeded"), logs, (*logs, "test")]
    for words in [*listed, ("wait", "9", "review")]:
        assert remote.json("offload", *words, *shop) == served.cli.json("offload", *words, *shop), words
    for words in [*listed, ("ls", "-q")]:
        there = served.cli.run("offload", *words, *shop).stdout
        assert remote.run("offload", *words, *shop).stdout == there, words
    for words, code in (
        (("wait", "10", "-R", "tinycart"), 10),  # the job failed
        (("status", "77"), 3),
        (("logs", "9", "-R", "acme/never"), 3),
        (("peek", "10", "-R", "tinycart"), 3),  # it has no session
        (("diff", "9", "revue"), 2),
    ):
        assert remote.run("offload", *words, code=code), words
    shown = remote.json("offload", "status", "9", "review", "-R", "tinycart")
    assert shown["job"] == remote.json("offload", "ls", "-R", "tinycart", "-s", "succeeded")["jobs"][0]
    assert shown["cost"] is shown["pull_request"] is None
    with remote.terminal("offload", "ls", "--watch", *shop) as terminal:
        terminal.expect("#10 ready")
        terminal.type(b"\x03")
        assert terminal.wait() == 130
    assert not (remote.home / "offload.sqlite3").exists(), list(remote.home.iterdir())


def test_a_job_is_started_followed_and_removed(served: Served, remote: Cli) -> None:
    target = ("3:far", "review", "--repo", "shop", "--base", "main")
    queued = remote.run("offload", *target, "--detach")
    assert "review" in queued.stdout
    assert f"{served.url.removesuffix('/api/v1')}/jobs/" in queued.stderr, "where it can be seen"
    assert remote.json("offload", *target, "--detach")["job"]["name"] == "far", "the same job again"
    refused = remote.run("offload", *target, "--agent", "gemini", "--detach", code=5)
    assert "already exists" in refused.stderr
    one = ("3:far", "review", "--repo", "shop")

    def log() -> str:
        return remote.run("offload", "logs", *one, "test", code=None).stdout

    until(lambda: "waiting" in log(), "the test's output")
    with remote.start("offload", "logs", *one, "test", "--follow") as following:
        assert following.stdout is not None
        assert any("waiting" in line for line in following.stdout)
        following.kill()
    assert "test.sh" in remote.run("offload", "diff", *one, "--stat").stdout
    assert remote.run("offload", "peek", *one).stdout
    timed = remote.run("offload", "wait", *one, "--timeout", "1s", code=124)
    assert "has not ended" in timed.stderr
    shell = remote.run("offload", "shell", *one, code=2)
    assert "/jobs/" in shell.stderr, "where a terminal is"
    assert "is running" in remote.run("offload", "rm", *one, code=5).stderr
    assert "cancelled" in remote.run("offload", "cancel", *one).stdout
    assert remote.json("offload", "wait", *one, code=12)["job"]["state"] == "cancelled"
    assert "was removed" in remote.run("offload", "rm", *one, "--force").stdout


def test_a_token_decides_what_is_allowed(served: Served, remote: Cli) -> None:
    remote.env["OFFLOAD_TOKEN"] = served.tokens["read"]
    lacking = remote.run("offload", "3:no", "--repo", "shop", "--detach", code=5)
    assert "scope launch" in lacking.stderr
    remote.env["OFFLOAD_TOKEN"] = "offload_wrong"
    wrong = remote.json("offload", "ls", code=4)["error"]
    assert "refuses the token" in wrong["message"]
    assert "token add" in wrong["hint"]
    del remote.env["OFFLOAD_TOKEN"]
    assert "There is no token" in remote.run("offload", "ls", code=4).stderr
    # Kept by the command that keeps secrets; no job can be given it.
    remote.env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    stored = subprocess.run(
        remote.argv("offload", "secret", "set", "OFFLOAD_TOKEN"),
        input=served.tokens["read"], env=remote.env, cwd=remote.cwd,
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert "is stored" in stored.stdout
    del remote.env["PYTHON_KEYRING_BACKEND"]
    assert remote.json("offload", "ls")["jobs"]
    assert "meaning of its own" in served.cli.run(
        "offload", "3:no", "--repo", "shop", "--secret", "OFFLOAD_TOKEN", "--detach", code=2
    ).stderr  # fmt: skip
    # What is about this computer still is, with its own database, and doctor checks the dashboard too.
    found = remote.json("offload", "doctor", code=None)["doctor"]["checks"]
    assert "which answers" in next(check["detail"] for check in found if check["subject"] == "dashboard")
    assert (remote.home / "offload.sqlite3").exists()
    for words in (
        ("fleet", "ls"),
        ("token", "ls"),
        ("ls", "--web"),
        ("3", "--trust"),
        ("3", "--secret", "A"),
    ):
        assert remote.run("offload", *words, code=2).stderr, words


def test_a_received_pull_request_is_the_one_that_was_sent() -> None:
    row = PullRequest(
        repository=Repository(slug="acme/tinycart"), number=9, title="Fix", details_sha="a" * 40,
        details_at=timezone.now(), updated_at=timezone.now(), mergeable="yes", additions=3, labels=["bug"],
        checks=[{"name": "ci", "outcome": "success", "required": True, "url": ""}], unresolved_threads=2,
    )  # fmt: skip
    listed = PullRequest(repository=row.repository, number=1)
    assert pull_json(read_pull_json(pull_json(listed))) == pull_json(listed)
    sent = pull_json(row, ["A thread is open."], ["Rules."])
    received = read_observed_pull_json(sent)
    assert pull_json(received.row, received.blocks, received.unknown) == sent
    assert [check.name for check in received.checks] == ["ci"]


class Old(BaseHTTPRequestHandler):
    """A dashboard from before `/jobs/find`, with nothing else to say."""

    def do_GET(self) -> None:
        found = self.path.endswith("/openapi.json")
        error = {"code": "not_found", "message": "There is nothing.", "hint": None, "retryable": False}
        body = (
            {"paths": {"/secret/api/v1/jobs": {"get": {}}}}
            if found
            else {"schema": "offload/1", "error": error}
        )
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def old() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Old)
    with serving(server):
        yield server


def test_a_wrong_server_is_named(remote: Cli, old: ThreadingHTTPServer, tmp_path: Path) -> None:
    port = old.server_port

    def said(url: str, code: int, *words: str) -> str:
        remote.env["OFFLOAD_URL"] = url
        return remote.run("offload", *(words or ("ls",)), code=code).stderr

    assert "too old" in said(f"http://127.0.0.1:{port}/secret/", 1, "status", "9")
    assert "not a web address" in said("dashboard.example", 4)
    assert "without encryption" in said("http://dashboard.example/x", 4)
    assert "more than an address" in said(f"https://me:pw@127.0.0.1:{port}/", 4)
    unknown = remote.env["OFFLOAD_URL"] = "http://127.0.0.1:1/x"
    assert "cannot be reached" in said(unknown, 15)
    # No authority that is known here signed the certificate: the token is not sent.
    pem = tmp_path / "self.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", pem, "-out", pem.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem.with_suffix(".crt"), pem)
    secure = ThreadingHTTPServer(("127.0.0.1", 0), Old)
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    with serving(secure):
        url = f"https://localhost:{secure.server_port}/secret"
        assert "SSL_CERT_FILE" in said(url, 15)
        remote.env["SSL_CERT_FILE"] = str(pem.with_suffix(".crt"))
        assert "too old" in said(url, 1, "status", "9")
