"""`manage.py serve`, the real process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

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
        port = served.serving.url.rpartition(":")[2]
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
