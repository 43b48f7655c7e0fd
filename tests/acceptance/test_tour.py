"""The newcomer's walk: the tour reviews the sample for real, and the pages show it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect, sync_playwright

from jobs.remote.layout import socket_for_root
from jobs.remote.offload_runner.screen.tmux_server import server_options

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("tour") / "home"
    yield path
    manage(path, "demo", "--stop")
    socket = socket_for_root(str(path / "worker"), settings.OFFLOAD.default_worker_root)
    tmux = ["tmux", *server_options(str(path / "worker"), socket)]
    subprocess.run(
        [*tmux, "kill-server"],
        capture_output=True,
        check=False,
    )


def manage(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}
    environment |= {"OFFLOAD_HOME": str(home), "DJANGO_SETTINGS_MODULE": "offload_web.settings"}
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def link(home: Path) -> str:
    done = manage(home, "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fail" in done.stdout
    found = re.search(r"http://\S+token=\S+", done.stdout)
    assert found, done.stdout
    return found[0]


@pytest.fixture(scope="module")
def page(link: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(link)
        yield tab
        browser.close()


def test_the_list_says_what_the_review_found(page: Page) -> None:
    page.get_by_role("link", name="Jobs", exact=True).first.click()
    expect(page.get_by_text("Round discounted prices to the nearest cent")).to_be_visible()
    named = "test_a_discount_does_not_cost_the_free_shipping passes on the base and fails on the head"
    expect(page.get_by_text(named).first).to_be_visible()


def test_the_job_page_shows_verdict_and_proof(page: Page) -> None:
    page.goto(page.url.split("/jobs")[0].rstrip("/") + "/jobs/1/")
    proof = page.get_by_text("Changed tests: fails on the base, passes on the head")
    expect(proof).to_be_visible(timeout=30_000)
    expect(page.get_by_text("test_a_discount_does_not_cost_the_free_shipping").first).to_be_visible()


def test_the_session_can_be_replayed_sought_and_searched(page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.goto(page.url.split("/jobs")[0].rstrip("/") + "/jobs/1/recording/")
    markers = page.locator("#markers li")
    expect(markers.first).to_be_visible(timeout=20_000)
    names = markers.all_text_contents()
    assert any("test: pytest" in name for name in names)
    assert "finished: fail" in names[-1]
    page.fill("#query", "free_shipping")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#hits li").first).to_be_visible()
    markers.last.get_by_role("button").click()
    expect(page.locator(".ap-player")).to_be_visible()
    expect(page.locator("#recording-state")).to_have_text(re.compile(r"places? with “free_shipping”"))
    page.fill("#query", "never shown 4711")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#recording-state")).to_have_text("Nothing with “never shown 4711”")
    assert complaints == []


def test_the_same_command_again_makes_no_second_job(page: Page, home: Path) -> None:
    done = manage(home, "offload", "123", "review", "--repo", str(home / "tinycart"), "--json")
    assert '"verdict": "fail"' in done.stdout, done.stdout + done.stderr
    listed = manage(home, "offload", "ls", "--json")
    assert listed.stdout.count('"session"') == 1


def test_a_second_tour_finds_the_first(page: Page, home: Path) -> None:
    again = manage(home, "demo")
    assert again.returncode == 0
    assert page.url.split("/")[2] in again.stdout
