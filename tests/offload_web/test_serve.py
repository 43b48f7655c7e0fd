"""`manage.py serve`, the real process."""

import http.cookiejar
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

import pytest

from jobs.errors import NotConfigured
from offload_web import secret_key
from offload_web.serving import read_serving
from tests.support.dashboard import ROOT, Dashboard, alive, children, dashboard, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_both_children_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    with dashboard(tmp_path / "home") as served:
        assert served.process is not None
        below = children(served.process.pid)
        assert len(below) == 2
        os.kill(served.process.pid, number)
        served.process.wait(20)
        until(lambda: not any(alive(pid) for pid in below), f"the children's end after {number.name}")
        assert read_serving(served.home) is None


def test_port_zero_prints_the_port_that_answers(tmp_path: Path) -> None:
    with dashboard(tmp_path / "home") as served:
        assert served.serving is not None
        assert served.serving.url in served.output()
        assert not served.serving.url.endswith(":0")
        with urlopen(f"{served.serving.url}/login/") as answer:
            assert answer.status == 200


def test_the_cookie_of_a_browser_reaches_no_other_port(tmp_path: Path) -> None:
    """An attacker's server on another port of 127.0.0.1 sees no cookie, and learns no path from ours."""
    with dashboard(tmp_path / "home") as served:
        assert served.serving is not None
        parts = urlsplit(served.serving.url)
        own, path = f"{parts.scheme}://{parts.netloc}", parts.path
        for address in ("/", "/login/", "/jobs/1/", f"{path[:-1]}/", "/nope", f"//{path}/", f"{path}x/"):
            with pytest.raises(HTTPError) as refused:
                urlopen(own + address)
            answer = refused.value
            assert answer.code == 404, address
            assert path not in f"{answer.headers}{answer.read().decode()}"
        browser = http.cookiejar.CookieJar()
        opener = build_opener(HTTPCookieProcessor(browser))
        assert opener.open(served.link()).url == f"{served.serving.url}/"
        assert [cookie.path for cookie in browser] == [f"{path}/"]
        assert urlopen(f"{own}/static/offload/app.css").status == 200
        stolen = Request(f"{served.serving.url}/workers/")
        browser.add_cookie_header(stolen)
        assert stolen.has_header("Cookie")
        other_port = Request(f"http://127.0.0.1:{(parts.port or 0) ^ 1}/")
        browser.add_cookie_header(other_port)
        assert not other_port.has_header("Cookie")
        served.manage("serve", "--logout")
        assert "/login/" in urlopen(stolen).url


def test_a_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with dashboard(tmp_path / "home") as served:
        assert served.serving is not None
        parts = urlsplit(served.serving.url)
        own = f"{parts.scheme}://{parts.netloc}"
        browser = http.cookiejar.CookieJar()
        build_opener(HTTPCookieProcessor(browser)).open(served.link())
        cookie = "; ".join(f"{c.name}={c.value}" for c in browser)
        forged = f"{cookie.partition('=')[0]}={'x' * 32}"

        def answer(length: str, body: bytes = b"", **headers: str) -> str:
            """Send the headers of a body, and none of it by default; return the status line's end."""
            given = {"host": parts.netloc, "origin": own, "cookie": cookie} | headers
            lines = [f"POST {parts.path}/jobs/new/ HTTP/1.1", length]
            lines += [f"{name}: {value}" for name, value in given.items() if value]
            with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as line:
                line.sendall("\r\n".join([*lines, "", ""]).encode() + body)
                return line.makefile("rb").readline().decode().partition(" ")[2].strip()

        assert answer("Content-Length: 99999999999") == "413 Refused"
        assert answer("Transfer-Encoding: chunked") == "411 Refused"
        assert answer("Content-Length: 10", origin="http://evil.example") == "403 Refused"
        assert answer("Content-Length: 10", host="evil.example") == "400 Refused"
        assert answer("Content-Length: 10", cookie="") == "403 Refused"
        assert answer("Content-Length: 200000", cookie=forged) == "403 Refused"
        # The body of a login that is known is read; the form lacks its token, as Django then says.
        assert answer("Content-Length: 200000", body=b"x" * 200_000) == "403 Forbidden"


def test_a_home_that_others_can_enter_is_repaired_or_not_served(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    secret_key.load(home)
    assert home.stat().st_mode & 0o777 == 0o700
    secret_key.require_private(home)
    home.chmod(0o750)
    with pytest.raises(NotConfigured):
        secret_key.require_private(home)
    if os.geteuid() == 0:
        home.chmod(0o700)
        os.chown(home, 12345, -1)
        with pytest.raises(NotConfigured):
            secret_key.require_private(home)


def test_a_dead_dashboard_child_comes_back_on_the_same_port(tmp_path: Path) -> None:
    with dashboard(tmp_path / "home") as served:
        assert served.process is not None
        assert served.serving is not None
        below = children(served.process.pid)
        web = next(p for p in below if b"\0web\0" in Path(f"/proc/{p}/cmdline").read_bytes())
        os.kill(web, signal.SIGKILL)
        until(lambda: len(set(children(served.process.pid)) - {web}) == 2, "the new child")  # type: ignore[union-attr]
        with urlopen(f"{served.serving.url}/login/", timeout=30) as answer:
            assert answer.status == 200
        assert "The dashboard ended (SIGKILL)" in served.output()


def test_a_second_serve_on_one_home_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with dashboard(tmp_path / "home") as served:
        assert served.serving is not None
        second = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "serve", "--port", "0"],
            env=served.environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert second.returncode == 5
        assert served.serving.url in second.stderr
        assert read_serving(served.home) == served.serving


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with dashboard(tmp_path / "home") as served:
        assert served.serving is not None
        other = Dashboard(tmp_path / "other")
        port = str(urlsplit(served.serving.url).port)
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "serve", "--port", port],
            env=other.environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 4
        assert f"127.0.0.1:{port} failed" in done.stderr


def test_the_login_token_stays_out_of_the_log(tmp_path: Path) -> None:
    with dashboard(tmp_path / "home") as served:
        link = served.link()
        with urlopen(link) as answer:
            assert answer.status == 200
        token = link.partition("token=")[2]
        assert token not in served.output()


def test_nothing_is_served_without_a_dashboard(tmp_path: Path) -> None:
    assert read_serving(tmp_path) is None
    (tmp_path / "serve.json").write_text('{"url": "http://127.0.0.1:1", "pid": 1}')
    (tmp_path / "serve.lock").touch()
    assert read_serving(tmp_path) is None
