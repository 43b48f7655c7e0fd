"""Host, Origin, headers, CSRF."""

import re
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client, TestCase, TransactionTestCase

from jobs.models import Worker
from offload_web import login
from offload_web.asgi import websocket
from offload_web.logging import redact
from offload_web.security import host_allowed, policy_text, same_origin


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://127.0.0.1:8765", True),
        ("http://127.0.0.1:8766", False),
        ("https://127.0.0.1:8765", False),
        ("http://localhost:8765", False),
        ("http://127.0.0.1", False),
        ("http://127.0.0.1:8765/", False),
        ("http://evil@127.0.0.1:8765", False),
        ("http://127.0.0.1:8765.evil.example", False),
        ("http://[127.0.0.1:8765", False),
        ("null", False),
        ("", False),
    ],
)
def test_an_origin_is_ours_only_if_scheme_name_and_port_are(origin: str, ours: bool) -> None:
    assert same_origin(origin, "127.0.0.1:8765", "http") is ours


def test_default_ports_count_as_written() -> None:
    assert same_origin("http://offload.example", "offload.example:80", "http")
    assert same_origin("https://offload.example:443", "offload.example", "https")


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example", "localhost:x", "[::1"])
def test_a_foreign_host_is_not_allowed(host: str) -> None:
    assert not host_allowed(host)


def test_scripts_are_never_inline() -> None:
    for namespace in ("", "jobs", "terminals"):
        script = next(p for p in policy_text(namespace).split("; ") if p.startswith("script-src"))
        assert "unsafe-inline" not in script
        assert "'unsafe-eval'" not in script
    assert "unsafe" not in policy_text("jobs")


def test_logs_hide_what_lets_somebody_in() -> None:
    text = redact("GET /login/?token=abcDEF-_1 to https://user:pass@forge.example/x")
    assert "abcDEF" not in text
    assert "pass" not in text
    assert "forge.example/x" in text


class HttpTests(TestCase):
    def setUp(self) -> None:
        self.client = Client(enforce_csrf_checks=True, headers={"host": "127.0.0.1:8765"})
        self.client.force_login(login.local_user())

    def test_headers(self) -> None:
        answer = self.client.get("/")
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer["Cache-Control"] == "no-store"
        assert answer["Content-Security-Policy"] == policy_text("jobs")
        scripts = re.findall(r"<script([^>]*)>(.*?)</script>", answer.content.decode(), re.DOTALL)
        assert scripts
        assert all("src=" in attributes and not body for attributes, body in scripts)
        assert " style=" not in answer.content.decode()

    def test_every_answer_has_the_policy(self) -> None:
        for path in ("/nope/", "/login/", "/static/offload/app.css", "/jobs/999/"):
            assert "default-src 'none'" in self.client.get(path)["Content-Security-Policy"], path

    def test_a_rebinding_host_is_refused(self) -> None:
        assert self.client.get("/", headers={"host": "evil.example"}).status_code == 400

    def test_another_sites_post_is_refused(self) -> None:
        for origin in ("http://evil.example", "http://127.0.0.1:9999", "null"):
            assert self.client.post("/jobs/new/", headers={"origin": origin}).status_code == 403, origin
        assert self.client.post("/jobs/new/", headers={"sec-fetch-site": "same-site"}).status_code == 403

    def test_a_post_without_the_token_is_refused(self) -> None:
        own = {"origin": "http://127.0.0.1:8765"}
        answer = self.client.post("/jobs/new/", {"target": "1"}, headers=own)
        self.assertContains(answer, "Not allowed", status_code=403)

    def test_a_login_that_may_only_look_changes_nothing(self) -> None:
        worker = Worker.objects.create(name="box", provider="memory", root="/x", config={}, state="ready")
        guest = User.objects.create(username="guest")
        guest.user_permissions.add(Permission.objects.get(codename="view_job"))
        looking = Client(headers={"host": "127.0.0.1:8765"})
        looking.force_login(guest)
        assert looking.get("/").status_code == 200
        for path in (
            "/jobs/new/", "/workers/box/stop/", "/workers/box/start/", "/workers/box/keep/",
            "/workers/box/rebuild/", "/workers/add/",
            "/api/v1/workers/box/stop",
        ):  # fmt: skip
            self.assertContains(looking.post(path, {"hours": "1"}), "no permission", status_code=403)
        worker.refresh_from_db()
        assert worker.config == {}
        assert looking.post("/logout/").status_code == 302
        assert looking.get("/").status_code == 302, "it is logged out"


async def handshake(**headers: str) -> bool:
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    line = WebsocketCommunicator(websocket, "/ws/feed/", headers=given)
    connected, _ = await line.connect()
    if connected:
        await line.disconnect()
    return bool(connected)


class WebSocketTests(TransactionTestCase):
    def setUp(self) -> None:
        self.client.force_login(login.local_user())
        name = settings.SESSION_COOKIE_NAME
        self.headers: dict[str, Any] = {
            "host": "127.0.0.1:8765",
            "origin": "http://127.0.0.1:8765",
            "cookie": f"{name}={self.client.cookies[name].value}",
        }

    async def test_our_own_page_is_let_in(self) -> None:
        assert await handshake(**self.headers)

    async def test_everything_else_is_refused(self) -> None:
        for wrong in (
            {"origin": "http://evil.example"},
            {"origin": "http://127.0.0.1:9999"},
            {"origin": "https://127.0.0.1:8765"},
            {"origin": ""},
            {"host": "evil.example", "origin": "http://evil.example"},
            {"cookie": ""},
            {"cookie": f"{settings.SESSION_COOKIE_NAME}=forged"},
        ):
            assert not await handshake(**{**self.headers, **wrong}), wrong

    async def test_a_missing_origin_is_refused(self) -> None:
        del self.headers["origin"]
        assert not await handshake(**self.headers)
