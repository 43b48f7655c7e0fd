"""The wall in Chromium, with real sessions: what is visible is live, what a job prints stays text."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, WebSocket, expect

from tests.browser.terminal_page import attached, new_context
from tests.browser.test_accessibility import AXE, CHECK
from tests.support.terminal_server import PROJECT, TerminalServer

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=pwned=1>"
SETUP = "import django; django.setup(); from jobs.models import *; from jobs.states import *\n"


def python(server: TerminalServer, code: str) -> None:
    """Run code on the server's database."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + code], env=server.env, cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def open_wall(context: BrowserContext, server: TerminalServer) -> tuple[Page, list[list[int]], list[str]]:
    """Open the wall; give it, what it asks the server to show, and what its console complains of."""
    page = context.new_page()
    asked: list[list[int]] = []
    complaints: list[str] = []

    def watch(socket: WebSocket) -> None:
        if socket.url.endswith("/ws/wall/"):
            socket.on("framesent", lambda text: asked.append(json.loads(text)["show"]))

    page.on("websocket", watch)
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{server.url}/wall/")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    return page, asked, complaints


def test_visible_tiles_are_live_and_a_click_zooms_into_the_terminal(chromium: Browser) -> None:
    with TerminalServer(sessions=9) as server:
        context = new_context(chromium, server, viewport={"width": 900, "height": 640})
        first = server.sessions[0]
        show = rf"clear; printf '\033[1;31mred\033[0m \033[7;34mblue\033[0m {HOSTILE}\n'"
        server.tmux("send-keys", "-t", f"={server.sessions[8]}:", show, "Enter")
        page, asked, complaints = open_wall(context, server)
        tile = page.locator(f"#tile-{server.jobs[8]}")
        expect(tile.locator(".a-fg-red.a-bold")).to_have_text("red")
        expect(tile.locator(".a-bg-blue")).to_have_text("blue")
        expect(tile.locator("pre")).to_contain_text(HOSTILE)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate(AXE)
            assert page.evaluate(CHECK, None) == []
        # The newest are first; those that are not on the screen cost nothing until they are.
        assert server.jobs[8] in asked[-1]
        assert server.jobs[0] not in asked[-1]
        assert page.locator(f"#screen-{server.jobs[0]} pre").text_content() == ""
        server.tmux("send-keys", "-t", f"={first}:", "clear; echo first", "Enter")
        page.locator(f"#tile-{server.jobs[0]}").scroll_into_view_if_needed()
        expect(page.locator(f"#screen-{server.jobs[0]}")).to_contain_text("first")
        assert server.jobs[8] not in asked[-1]

        # A change of the list keeps the pictures, and takes what has ended.
        python(server, f"Job.objects.filter(id={server.jobs[1]}).update(state='succeeded')\n"
               f"JobEvent.objects.create(job_id={server.jobs[1]}, kind='state')")  # fmt: skip
        expect(page.locator("#wall-count")).to_have_text("8 running sessions")
        expect(page.locator(f"#screen-{server.jobs[0]}")).to_contain_text("first")

        page.evaluate("scrollTo(0, 0)")
        page.keyboard.press("j")
        expect(page.locator(f"#zoom-{server.jobs[8]}")).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"#zoom-{server.jobs[7]}")).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(page.locator(f"#zoom-{server.jobs[5]}")).to_be_focused()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("k")
        expect(page.locator(f"#zoom-{server.jobs[8]}")).to_be_focused()
        assert not page.evaluate("'pwned' in window")
        box = page.locator(f"#screen-{server.jobs[8]}").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(page).to_have_url(re.compile(rf"/terminals/{server.jobs[8]}/$"))
        attached(page)
        assert complaints == []
        context.close()


def test_a_worker_that_does_not_answer_is_said_with_its_age_and_then_no_session_at_all(
    chromium: Browser,
) -> None:
    with TerminalServer(provider="ssh", config={"host": "127.0.0.1", "port": 1}) as server:
        python(server, "from datetime import timedelta\nfrom django.utils import timezone\n"
               "Worker.objects.update(observed_at=timezone.now() - timedelta(minutes=3))")  # fmt: skip
        context = new_context(chromium, server, viewport={"width": 320, "height": 640})
        page, _, complaints = open_wall(context, server)
        note = page.locator(".tile-note")
        expect(note).to_contain_text("far does not answer: ")
        expect(note).to_contain_text(re.compile(r"Seen 3 min ago\.$"))
        page.evaluate(AXE)
        assert page.evaluate(CHECK, None) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        python(server, f"Job.objects.update(state='cancelled')\n"
               f"JobEvent.objects.create(job_id={server.jobs[0]}, kind='state')")  # fmt: skip
        expect(page.get_by_role("heading", name="No session is running")).to_be_visible()
        page.get_by_role("link", name="New job").last.click()
        expect(page.get_by_label("Target")).to_be_visible()
        assert complaints == []
        context.close()
