"""The first-run page in Chromium: from an empty home to a repository that was read, by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_accessibility import AXE, CHECK
from tests.support.dashboard import Dashboard
from tests.support.git_repos import RepoBuilder

pytestmark = pytest.mark.browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Dashboard]:
    running = Dashboard(tmp_path / "home")
    running.environment["OFFLOAD_WORKER_ROOT"] = str(tmp_path / "root")
    try:
        running.start()
        yield running
    finally:
        running.stop()


def test_each_step_is_tested_in_place_and_says_what_to_do(
    served: Dashboard, chromium: Browser, tmp_path: Path
) -> None:
    shop = RepoBuilder(tmp_path / "shop")
    shop.commit({"a.txt": "a"})
    context = chromium.new_context(viewport={"width": 320, "height": 640})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.goto(served.link())
    page.get_by_role("link", name="First steps").click()
    page.evaluate("window.same = true")
    mark, result = page.locator("#mark-repository"), page.locator("#result-repository")
    expect(mark).to_have_text("missing")
    page.get_by_label("Repository to read").fill(str(tmp_path / "nowhere"))
    page.keyboard.press("Enter")
    expect(mark).to_have_text("does not work")
    expect(result.get_by_role("button", name="Copy: ")).to_be_visible()
    page.get_by_label("Repository to read").fill(shop.url)
    page.keyboard.press("Enter")
    expect(mark).to_have_text("works")
    expect(result).to_contain_text("answers git; its head is")
    page.get_by_role("button", name="Test Worker").click()
    expect(page.locator("#mark-worker")).to_contain_text("works")
    expect(page.get_by_role("button", name="Test Worker")).to_be_focused()
    assert page.evaluate("window.same"), "the page was loaded again"
    page.get_by_role("button", name="Test everything").click()
    expect(page.locator("#result-token")).to_contain_text(
        "No repository of a forge with an API is known yet."
    )
    expect(page.locator("#result-image li, #result-image p").first).to_be_visible()
    expect(page.locator("#result-agent li").first).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        page.evaluate(AXE)
        assert page.evaluate(CHECK, None) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert complaints == []
    context.close()
