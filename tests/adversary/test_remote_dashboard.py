"""A server that poses as the dashboard of OFFLOAD_URL: it fills, lies, and writes to the terminal."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.client import remote as remote_module
from jobs.client.connection import MOST_BYTES, Connection
from jobs.client.received import read_account_json, read_cost_json, read_job_json, read_observed_pull_json
from jobs.client.remote import Remote
from jobs.errors import OffloadError, ProtocolMismatch
from jobs.models import PullRequest
from jobs.operations import JobFilter
from jobs.serializers import job_json, pull_json
from tests.support import factories as make
from tests.support.cli import Cli
from tests.support.leaks import resident_bytes
from tests.support.serving import serving

EVIL = "\x1b]0;title\x07\x1b[2J\x1b]52;c;ZXZpbA==\x1b\\\x9b2J\x08\u202e\x1b[8mhidden\r\n\x1bc"
MIB = 1024 * 1024
_packer = zlib.compressobj(9, wbits=31)
BOMB = b"".join([_packer.compress(b" " * MIB) for _ in range(300)]) + _packer.flush()  # gzip, 300 KB

Respond = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def dashboard(respond: Respond) -> Iterator[str]:
    """Serve what `respond` writes to every request; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            try:
                respond(self)
            except OSError:
                pass  # the client has had enough

        do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}/secret"


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def answer(**data: Any) -> bytes:
    return json.dumps({"schema": "offload/1", **data}).encode()


def ask(url: str, call: Callable[[Remote], Any]) -> Any:
    async def run() -> Any:
        client = Remote(Connection(url, "offload_token"))
        try:
            return await call(client)
        finally:
            await client.aclose()

    return asyncio.run(run())


def refusal(url: str, call: Callable[[Remote], Any] = lambda client: client.load(1)) -> OffloadError:
    with pytest.raises(OffloadError) as caught:
        ask(url, call)
    assert len(caught.value.message) < 5000
    return caught.value


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * MIB)


def compressed(handler: BaseHTTPRequestHandler) -> None:
    send(handler, BOMB, Content_Encoding="gzip")


@pytest.mark.parametrize(
    ("respond", "told"),
    [(endless, f"more than {MOST_BYTES >> 20} MiB"), (compressed, "as no Offload dashboard")],
)
def test_an_endless_answer_is_given_up(respond: Respond, told: str) -> None:
    with dashboard(respond) as url:
        before = resident_bytes()
        assert told in refusal(url).message
        assert told in refusal(url, lambda client: client.read_log(1, "test", 0, 100)).message
        assert resident_bytes() - before < 100 * MIB


@pytest.mark.parametrize(
    "body",
    [b"[" * 200_000, b'{"schema":"offload/1","job":' + b"[" * 200_000, b'{"schema":"offload/1","job":NaN}',
     b'{"schema":"offload/1","job":{"id":1e999}}', b'{"schema":"offload/1","job":' + b"9" * 100_000 + b"}",
     b"[]", b"5", b"\xff\xfe", b"", answer(job=None), answer(job=[]), answer(job={}), answer()],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_is_none_is_an_error_that_says_so(body: bytes, status: int) -> None:
    with dashboard(lambda handler: send(handler, body, status)) as url:
        told = refusal(url)
    assert "127.0.0.1" in told.message or "unknown way" in told.message
    assert told.hint


def test_the_token_follows_no_redirect() -> None:
    asked: list[str] = []
    with dashboard(lambda handler: asked.append(str(handler.headers))) as other:
        for status in (301, 302, 303, 307, 308):
            with dashboard(lambda handler, s=status: send(handler, b"", s, Location=other)) as url:  # type: ignore[misc]
                assert "answers as no Offload dashboard" in refusal(url).message
                refusal(url, lambda client: client.cancel(1, "me"))
    assert asked == []


def test_lists_that_never_end_are_given_up(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setattr(remote_module, "MOST_ROWS", 200)
    job = dict(job_json(make.make_job()))
    pull = dict(pull_json(PullRequest(repository=make.make_repository(), number=1)))

    def respond(handler: BaseHTTPRequestHandler) -> None:
        pulls = answer(pull_requests=[pull] * 100, warnings=[])
        send(handler, pulls if "/pulls" in handler.path else answer(jobs=[job] * 100, next=5))

    with dashboard(respond) as url:
        told = refusal(url, lambda client: client.list_jobs(JobFilter(), print))
        assert "no end" in told.message
        assert "no end" in refusal(url, lambda client: client.list_pulls("a/b", Path(), print)).message
    with dashboard(lambda handler: send(handler, answer(jobs=[], next=5))) as url:
        assert "no end" in refusal(url, lambda client: client.list_jobs(JobFilter(), print)).message


WRONG: list[Any] = [None, True, -1, 10**30, 1.5, "", "x" * 100_000, "\ud800", [], [[]], [{}], {}, {"id": {}}]


def is_refused(read: Callable[[Any], Any], data: dict[str, Any]) -> bool:
    try:
        read(data)
    except ProtocolMismatch as error:
        return len(error.message) < 500
    return False


def test_values_of_wrong_types_are_an_error_that_says_so(db: None) -> None:
    job = make.make_job(verdict="fail", tasks=[make.make_task("test")], findings=[{"message": "m"}])
    row = PullRequest(
        repository=make.make_repository(), number=1, checks=[{"name": "ci", "outcome": "failure"}]
    )
    row.details_at = row.fetched_at
    known = {"value": "a", "detail": None, "source": "s", "since": None, "until": None, "evidence": None}
    account = {"observed_at": None, "state": known, "attention": None, "agent": known, "takes_input": True,
               "no_input": None}  # fmt: skip
    cost = {"currency": "EUR", "amount": 1.0, "hours": 0.0, "as_of": "", "source": "", "estimate": True}
    readers: list[tuple[Callable[[Any], Any], dict[str, Any]]] = [
        (read_job_json, dict(job_json(job))),
        (read_observed_pull_json, dict(pull_json(row, ["It blocks."], []))),
        (read_account_json, account),
        (read_cost_json, cost),
    ]
    refused = 0
    for read, data in readers:
        read(data)
        for key in data:
            for value in WRONG:
                refused += is_refused(read, {**data, key: value})
    assert refused > 500


def evil(data: Any, kept: tuple[str, ...]) -> Any:
    """Return data with hostile text in each string but those of the keys `kept`."""
    if isinstance(data, dict):
        return {key: value if key in kept else evil(value, kept) for key, value in data.items()}
    if isinstance(data, list):
        return [evil(item, kept) for item in data]
    return f"{data}{EVIL}" if isinstance(data, str) else data


KEPT = ("state", "reason", "verdict", "attention", "action", "isolation", "created_at", "started_at",
        "finished_at", "observed_at", "archived_at", "removed_at", "attention_until", "fetched_at",
        "updated_at", "since", "until", "severity", "outcome")  # fmt: skip
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


def check_screen(shown: bytes) -> None:
    """Fail when what came to a terminal holds anything but text, ends of lines and colours."""
    rest = COLOUR.sub(b"", shown).replace(b"\r\n", b"\n").decode()
    assert all(character.isprintable() or character == "\n" for character in rest), repr(rest)
    assert not any("\u202a" <= character <= "\u202e" for character in rest)
    assert b"\x1b[8m" not in shown


def screen(cli: Cli, *words: str) -> bytes:
    """Return all that a command writes to its terminal."""
    with cli.terminal(*words) as terminal:
        terminal.wait()
        return terminal.seen


def test_no_field_of_an_answer_controls_the_terminal(tmp_path: Path, db: None) -> None:
    job = make.make_job(
        state="failed", verdict="fail", tasks=[make.make_task("test", "failed")], number=9,
        findings=[{"severity": "error", "message": "m", "file": "a.py", "line": 3}], reason_detail="why",
        options={"agent": "gemini", "agent_secrets": ["KEY"], "placement": "there"}, title="title", name="n",
    )  # fmt: skip
    told = evil(dict(job_json(job)), KEPT)
    row = PullRequest(
        repository=make.make_repository(), number=9, title="t", author="a", head_ref="h", base_ref="b",
        labels=["l"],
        checks=[{"name": "ci", "outcome": "failure", "required": True, "url": "", "said": "no"}],
    )  # fmt: skip
    row.details_at = row.fetched_at
    pull = evil(dict(pull_json(row, ["It blocks."], ["Rules."])), KEPT)
    known = {"value": "a", "detail": "d", "source": "s", "since": None, "until": None, "evidence": "e"}
    why = evil({"observed_at": None, "state": known, "attention": known, "agent": known, "takes_input": True,
                "no_input": "none"}, KEPT)  # fmt: skip
    cost = evil(
        {"currency": "EUR", "amount": 1.0, "hours": 2.0, "as_of": "2026", "source": "s", "estimate": True},
        KEPT,
    )

    def respond(handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        if path.endswith("/cancel"):
            error = {"code": "refused", "message": EVIL, "hint": EVIL, "retryable": False}
            send(handler, answer(error=error), 409)
        elif path.endswith("/status"):
            send(handler, answer(job=told, cost=cost, pull_request=pull, why=why, warnings=[EVIL]))
        elif path.endswith(("/log", "/diff", "/screen", "/assessment")):
            is_end = "offset=" in handler.path and "offset=0" not in handler.path
            send(handler, b"" if is_end else EVIL.encode())
        elif path.endswith("/jobs"):
            send(handler, answer(jobs=[told], next=None))
        elif path.endswith("/pulls"):
            send(handler, answer(pull_requests=[pull], warnings=[EVIL]))
        else:
            send(handler, answer(job=told))

    (tmp_path / "cwd").mkdir()
    cli = Cli(tmp_path / "home", tmp_path / "cwd")
    with dashboard(respond) as url:
        cli.env |= {"OFFLOAD_URL": url, "OFFLOAD_TOKEN": "offload_t"}
        about = ("9", "review", "-R", "acme/tinycart")
        for words in (
            ("ls",), ("ls", "-q"), ("ls", "--open", "-R", "a/b"), ("status", *about, "--why"),
            ("wait", *about), ("cancel", *about), ("logs", *about), ("diff", *about), ("peek", *about),
        ):  # fmt: skip
            shown = screen(cli, "offload", *words)
            assert b"title" in shown or b"hidden" in shown or words[0] == "cancel", (words, shown)
            check_screen(shown)
