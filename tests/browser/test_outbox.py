"""The outbox in a real Chromium, a real `serve`, and a strict GitHub: from a draft to the posted review."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.dashboard import dashboard
from tests.support.github import SHA, TOKEN, github

pytestmark = pytest.mark.browser

SEED = f"""
from tests.support.factories import make_job, make_repository
repository = make_repository("acme/shop", url="https://github.test/acme/shop", forge="github")
finding = {{"severity": "error", "message": "Applied twice", "file": "app.txt", "line": 2}}
print(make_job(repository=repository, number=1, verdict="needs_work", sha="{SHA}", assessment="# Needs work",
               findings=[finding]).id)
"""


def test_a_review_is_drafted_edited_and_sent_on_the_page(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TOKEN_GITHUB_TEST", TOKEN)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with github() as forge:
        forge.add(1)
        (home / "config.toml").write_text(f'forge_apis = ["github.test={forge.url}"]\n')
        with dashboard(home) as running:
            job = running.python(SEED).strip()
            assert running.serving is not None
            context = chromium.new_context(viewport={"width": 390, "height": 800})
            page = context.new_page()
            wrong: list[str] = []
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
            page.goto(running.link())
            page.goto(f"{running.serving.url}/jobs/{job}/")
            page.click("#make-draft")
            expect(page.locator(".draft-comment .add")).to_contain_text("two")
            expect(page.locator("#outbox-count")).to_contain_text("1")
            page.get_by_role("link", name="Edit").click()
            page.fill("#body", "In my words")
            page.click("#save")
            expect(page.locator(".draft > .prose")).to_have_text("In my words")
            assert forge.reviews == []
            page.click("#send-button")
            expect(page.locator(".draft-head .mark")).to_have_text("sent")  # without a reload
            [review] = forge.reviews
            assert review["body"].startswith("In my words")
            context.close()
            assert wrong == []
