"""Every address of the dashboard and its API, as Django's resolver knows them, without a right to it."""

from __future__ import annotations

import html
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from jobs.dashboard.live import websocket_urlpatterns as feed
from jobs.states import Scope
from terminals.routing import websocket_urlpatterns as terminals
from tests.jobs.api.conftest import Served, served

__all__ = ["served"]

NUMBER = "999999"  # the number of no job, draft or worker
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
EVIL = "http://evil.example"
API = "/api/v1/"
# What docs/api.md and docs/security.md promise to a stranger, and nothing else.
OPEN = {"/api/v1/openapi.json", "/login/"}


def walk(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    """Yield an address for each pattern, with a number or a word where it takes one."""
    for pattern in patterns:
        text = str(pattern.pattern)
        text = re.sub(r"<int:\w+>|\(\?P<\w+>\\d[^)]*\)", NUMBER, text)
        text = re.sub(r"\(\?P<\w+>(\w+)[^)]*\)", r"\1", text)
        text = re.sub(r"<(?:\w+:)?\w+>", "word", text).strip("^$").replace("\\", "")
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, before + text)
        else:
            yield before + text


PAGES = sorted(set(walk(get_resolver().url_patterns)))
SOCKETS = sorted(walk([*feed, *terminals]))


def test_the_walk_finds_what_there_is() -> None:
    assert {"/", "/login/", "/api/v1/jobs", f"/jobs/{NUMBER}/", f"/terminals/{NUMBER}/file/"} <= set(PAGES)
    assert len(PAGES) > 60
    assert len(SOCKETS) >= 2
    assert not [page for page in PAGES if re.search(r"[<>()?*]", page)]


@pytest.fixture(scope="module")
def door(served: Served) -> str:
    """The dashboard's address, without a slash at the end."""
    return served.url.removesuffix("/api/v1")


@pytest.fixture(scope="module")
def stranger(door: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=door, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def member(served: Served, door: str) -> Iterator[httpx.Client]:
    """A browser that is logged in, with the CSRF token of a page."""
    with httpx.Client(base_url=door, timeout=20) as client:
        page = client.get(served.dashboard.link(), follow_redirects=True)
        found = re.search(r'"X-CSRFToken": "(\w+)"', html.unescape(page.text))
        assert found is not None
        client.headers["X-CSRFToken"] = found[1]
        assert client.get("/").status_code == 200
        yield client


def is_shut(answer: httpx.Response, page: str, method: str) -> bool:
    """Tell whether an answer gives nothing: a way to the login, or an error."""
    if page.startswith(API):
        return answer.status_code in (401, 404, 405)
    if answer.status_code == 302:
        return "/login/" in answer.headers["location"]
    return answer.status_code in (401, 403)


def test_without_a_login_no_address_answers(stranger: httpx.Client) -> None:
    for page in PAGES:
        for method in METHODS:
            answer = stranger.request(method, page)
            if page in OPEN and method in ("GET", "HEAD", "OPTIONS"):
                continue
            assert is_shut(answer, page, method), (method, page, answer.status_code)
            assert "tinycart" not in answer.text, (method, page)
            assert "access-control-allow-origin" not in answer.headers


def test_without_the_dashboards_own_path_nothing_is_there(served: Served, door: str) -> None:
    parts = urlsplit(door)
    with httpx.Client(base_url=f"{parts.scheme}://{parts.netloc}", timeout=20) as client:
        client.headers["Authorization"] = f"Bearer {served.tokens['all']}"
        assert {(page, client.get(page).status_code) for page in PAGES} == {(page, 404) for page in PAGES}


@pytest.mark.parametrize(
    "headers",
    [{"Origin": EVIL}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)
def test_another_site_changes_nothing_with_a_login(member: httpx.Client, headers: dict[str, str]) -> None:
    for page in PAGES:
        for method in CHANGING:
            answer = member.request(method, page, headers=headers)
            assert answer.status_code == 403, (method, page, answer.status_code)
            assert "another site" in answer.text


def test_another_site_reads_nothing(member: httpx.Client) -> None:
    for page in PAGES:
        if page.endswith(("/events", "/logout/")) or "/login" in page:
            continue  # a stream; an end of the login
        answer = member.options(page, headers={"Origin": EVIL, "Access-Control-Request-Method": "POST"})
        assert not [name for name in answer.headers if name.startswith("access-control-")], page
        answer = member.get(page, headers={"Origin": EVIL})
        assert not [name for name in answer.headers if name.startswith("access-control-")], page
        assert answer.headers["cross-origin-resource-policy"] == "same-origin", page


def test_a_login_without_the_csrf_token_changes_nothing(member: httpx.Client) -> None:
    with httpx.Client(base_url=member.base_url, cookies=member.cookies, timeout=20) as client:
        for page in PAGES:
            for method in CHANGING:
                answer = client.request(method, page)
                ways = (403, 404, 405) if page.startswith(API) else (403, 405)
                assert answer.status_code in ways, (method, page, answer.status_code)


def needed(method: str, page: str) -> Scope | None:
    """Return the scope that docs/api.md names for a request; None for one that needs none."""
    if page in OPEN:
        return None
    if method == "GET":
        return Scope.READ
    kind = page.removeprefix(API).split("/")[0]
    return {"jobs": Scope.LAUNCH, "outbox": Scope.SEND, "workers": Scope.ADMIN}[kind]


def operations(client: httpx.Client) -> list[tuple[str, str]]:
    """Return the method and the address of every operation that the API says to have."""
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    found = []
    for path, methods in paths.items():
        page = API + path.partition(API)[2]
        page = re.sub(r"\{(\w*id|number)\}", NUMBER, page)
        found += [(method.upper(), re.sub(r"\{\w+\}", "word", page)) for method in methods]
    return found


def test_a_token_reaches_what_its_scope_names_and_no_page(served: Served, stranger: httpx.Client) -> None:
    known = operations(stranger)
    assert {page for _, page in known} <= set(PAGES)
    assert len(known) > 20
    for scope in Scope:
        headers = {"Authorization": f"Bearer {served.tokens[scope.value]}"}
        for method, page in known:
            if page.endswith("/events") and scope is Scope.READ:
                continue  # a stream
            answer = stranger.request(method, page, headers=headers)
            refused = answer.status_code == 403 and answer.json()["error"]["code"] == "not_allowed"
            assert refused is (needed(method, page) is not scope), (scope, method, page, answer.status_code)
        for page in PAGES:
            if not page.startswith(API) and page not in OPEN:
                assert is_shut(stranger.get(page, headers=headers), page, "GET"), page


def test_no_address_of_the_api_takes_a_method_that_it_does_not_describe(
    served: Served, stranger: httpx.Client
) -> None:
    known = set(operations(stranger))
    headers = {"Authorization": f"Bearer {served.tokens['all']}"}
    for page in PAGES:
        for method in METHODS:
            if page.startswith(API) and (method, page) not in known and page not in OPEN and method != "HEAD":
                answer = stranger.request(method, page, headers=headers)
                assert answer.status_code in (404, 405), (method, page, answer.status_code)


def exchange(door: str, head: str) -> bytes:
    """Send the head of a request and nothing of its body; return the beginning of the answer."""
    parts = urlsplit(door)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        return connection.recv(4096)


def test_a_body_is_refused_everywhere_before_it_is_read(door: str, member: httpx.Client) -> None:
    parts = urlsplit(door)
    cookies = "; ".join(f"{name}={value}" for name, value in member.cookies.items())
    host, size = f"Host: {parts.netloc}", "Content-Length: 2000000000"
    attempts = {
        b" 403 ": f"{host}\n{size}",  # no login
        b" 400 ": f"Host: evil.example\n{size}\nCookie: {cookies}",
        b" 413 ": f"{host}\n{size}\nCookie: {cookies}",
    }
    for page in PAGES:
        for status, headers in attempts.items():
            said = exchange(door, f"POST {parts.path}{page} HTTP/1.1\n{headers}")
            assert status in said.split(b"\r\n")[0], (page, said[:60])
        foreign = f"{host}\n{size}\nCookie: {cookies}\nOrigin: {EVIL}"
        assert b" 403 " in exchange(door, f"POST {parts.path}{page} HTTP/1.1\n{foreign}").split(b"\r\n")[0], (
            page
        )


def test_no_socket_opens_to_a_stranger_or_another_site(door: str, member: httpx.Client) -> None:
    parts = urlsplit(door)
    cookies = "; ".join(f"{name}={value}" for name, value in member.cookies.items())
    own = f"{parts.scheme}://{parts.netloc}"
    upgrade = (
        f"Host: {parts.netloc}\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    )
    for page in SOCKETS:
        for more in (
            f"Origin: {own}",  # no login
            f"Origin: {EVIL}\nCookie: {cookies}",
            f"Origin: null\nCookie: {cookies}",
            f"Cookie: {cookies}",
            f"Origin: http://127.0.0.1.evil.example:{parts.port}\nCookie: {cookies}",
        ):
            said = exchange(door, f"GET {parts.path}{page} HTTP/1.1\n{upgrade}\n{more}")
            assert b" 403 " in said.split(b"\r\n")[0], (page, more, said[:60])
    opened = exchange(
        door, f"GET {parts.path}{SOCKETS[0]} HTTP/1.1\n{upgrade}\nOrigin: {own}\nCookie: {cookies}"
    )
    assert b" 101 " in opened.split(b"\r\n")[0], (SOCKETS, opened[:60])
