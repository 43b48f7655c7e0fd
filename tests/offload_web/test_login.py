"""Links that log in, once."""

import hashlib
import time
from pathlib import Path

import time_machine
from django.conf import settings
from django.test import TestCase

from offload_web import login


def token_of(link: str) -> str:
    return link.partition("token=")[2]


class LoginTests(TestCase):
    def test_a_link_logs_in_and_leaves_the_address(self) -> None:
        answer = self.client.get(f"/login/?token={token_of(login.make_link('http://testserver'))}")
        self.assertRedirects(answer, "/")
        cookie = answer.cookies[settings.SESSION_COOKIE_NAME]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert answer["Referrer-Policy"] == "no-referrer"
        assert self.client.get("/").status_code == 200

    def test_a_link_can_lead_to_filters_of_the_inbox_and_nowhere_else(self) -> None:
        link = login.make_link("http://testserver", "repository=o%2Fr&q=a b")
        answer = self.client.get(link.removeprefix("http://testserver"))
        assert answer["Location"] == "/?repository=o%2Fr&q=a%20b"
        answer = self.client.get("/login/", {"filters": "//evil.example"})
        assert answer["Location"] == "/?//evil.example"

    def test_a_link_works_once(self) -> None:
        token = token_of(login.make_link("http://testserver"))
        assert login.redeem(token)
        answer = self.client.get(f"/login/?token={token}")
        assert answer.status_code == 403
        self.assertContains(answer, "used already", status_code=403)
        assert self.client.get("/").status_code == 302

    def test_a_link_expires(self) -> None:
        with time_machine.travel(time.time(), tick=False) as clock:
            token = token_of(login.make_link("http://testserver"))
            clock.shift(login.LINK_SECONDS + 1)
            assert not login.redeem(token)
            clock.shift(-60)
            assert not login.redeem(token), "the try used it up"

    def test_the_token_is_kept_as_a_hash_that_only_the_owner_reads(self) -> None:
        token = token_of(login.make_link("http://testserver"))
        path = Path(settings.OFFLOAD.home) / "login" / hashlib.sha256(token.encode()).hexdigest()
        assert path.stat().st_mode & 0o777 == 0o600
        assert token not in path.read_text()

    def test_strange_tokens_are_only_wrong(self) -> None:
        for token in ("", "../secret_key", "%2e%2e", "x" * 43, "ü" * 43, "a" * 10_000):
            assert not login.redeem(token)

    def test_a_visit_from_another_site_goes_on_by_itself(self) -> None:
        token = token_of(login.make_link("http://testserver"))
        answer = self.client.get(f"/login/?token={token}", headers={"Sec-Fetch-Site": "cross-site"})
        self.assertContains(answer, 'http-equiv="refresh" content="0;url=/"')
        assert token not in answer.content.decode()

    def test_every_page_needs_a_login(self) -> None:
        for path in ("/", "/live/", "/jobs/1/", "/jobs/1/logs/test/raw/", "/workers/", "/terminals/1/"):
            answer = self.client.get(path)
            assert answer.status_code == 302, path
            assert answer["Location"].startswith("/login/"), path
        for path in ("/jobs/new/", "/jobs/1/remove/", "/jobs/1/cancel/"):
            assert self.client.post(path).status_code == 302, path

    def test_a_session_ends_with_the_dashboard_that_made_it(self) -> None:
        self.addCleanup(login.end_logins)
        login.allow_logins()
        self.client.get(f"/login/?token={token_of(login.make_link('http://testserver'))}")
        assert self.client.get("/").status_code == 200
        login.allow_logins()
        assert self.client.get("/").status_code == 200, "a dashboard that was killed goes on"
        login.end_logins()
        login.allow_logins()
        assert self.client.get("/").status_code == 302

    def test_the_browser_is_given_a_page_of_the_owner_and_no_link(self) -> None:
        link = login.make_link("http://testserver")
        page = login.write_link_page(link)
        assert page.stat().st_mode & 0o777 == 0o600
        assert token_of(link) in page.read_text()
        assert token_of(link) not in page.as_uri()
        with time_machine.travel(time.time() + login.LINK_SECONDS + 5):
            login.make_link("http://testserver")
        assert not page.exists()

    def test_the_local_user_has_no_password(self) -> None:
        assert not login.local_user().has_usable_password()

    def test_logging_out_ends_the_session(self) -> None:
        self.client.force_login(login.local_user())
        self.client.post("/logout/")
        assert self.client.get("/").status_code == 302
