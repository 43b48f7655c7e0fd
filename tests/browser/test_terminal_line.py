"""When the line breaks: the page notices, says so, and comes back at once when it can."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.browser.terminal_page import attached, new_context, offload, open_terminal, run, shows, until
from tests.browser.test_wall import python
from tests.support.terminal_server import TerminalServer

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server() -> Iterator[TerminalServer]:
    with TerminalServer() as running:
        yield running


LOG_OUT = """() => fetch(document.querySelector('form[action$="/logout/"]').action, {method: 'POST', headers:
  {'X-CSRFToken': document.querySelector('[name=csrfmiddlewaretoken]').value}})"""
NEWS = {
    "network": "dispatchEvent(new Event('online'))",
    "visible": "document.dispatchEvent(new Event('visibilitychange'))",
    "button": "document.querySelector('#banner [data-actions] button').click()",
}


@pytest.mark.parametrize("news", NEWS)
def test_it_connects_at_once_on_good_news(context: BrowserContext, server: TerminalServer, news: str) -> None:
    page = open_terminal(context, server)
    # Far into its backing off, with a server that is not there.
    offload(
        page,
        "(offload.address = offload.link.address,"
        " offload.link.address = () => location.origin.replace('http', 'ws') + '/ws/nowhere/',"
        " offload.link.attempts = 10, offload.link.connect())",
    )
    until(page, "(l => l.state === 'waiting' && l.retryAt - Date.now() > 5000)"
                "(document.getElementById('terminal').offload.link)")  # fmt: skip
    planned = offload(page, "offload.link.retryAt")
    expect(page.locator("#banner")).to_contain_text("Trying again in")
    assert page.locator("#terminal.stale").count() == 1
    offload(page, f"(offload.link.address = offload.address, {NEWS[news]})")
    until(page, "() => document.getElementById('terminal').offload.state.attached")
    assert offload(page, "Date.now()") < planned
    expect(page.locator("#banner")).to_be_hidden()


def test_it_notices_that_the_computer_slept(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    run(page, "echo be''fore")
    shows(page, "before")
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)  # a line that says nothing, as after a sleep
    try:
        offload(page, "(offload.link.tickedAt -= 60_000)")
        expect(page.locator("#banner")).to_contain_text("stopped answering")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    attached(page)
    run(page, "echo aft''er")
    shows(page, "after")


def test_a_logout_ends_the_terminal_and_says_so(chromium: Browser) -> None:
    with TerminalServer() as own:  # the login of the others must live
        context = new_context(chromium, own)
        page = open_terminal(context, own)
        other = context.new_page()
        other.goto(f"{own.url}/")
        other.evaluate(LOG_OUT)
        expect(page.locator("#banner")).to_contain_text("Your login has ended")
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
        assert offload(page, "offload.link.state") == "stopped"
        context.close()


def test_a_session_that_is_gone_is_resumed_from_its_terminal(
    context: BrowserContext, server: TerminalServer
) -> None:
    page = open_terminal(context, server)
    page.keyboard.press("Control+Shift+L")
    expect(page.get_by_role("link", name="Back to the job")).to_be_focused()
    session = server.sessions[0]
    python(server, "Job.objects.update(state='interrupted')")
    server.tmux("new-session", "-d", "-s", "other", "sleep 300")  # tmux outlives the session
    server.tmux("kill-session", "-t", f"={session}")
    expect(page.locator("#banner")).to_contain_text("The terminal ended")
    page.get_by_role("button", name="Attach again").click()
    resume = page.get_by_role("button", name="Resume the job")
    expect(resume).to_be_visible()
    expect(page.get_by_role("button", name="Start the machine")).to_have_count(0)
    resume.click()
    expect(page.locator("#banner")).to_contain_text("has no session yet: it is queued")
    # What the reconciler would do.
    server.new_session(session)
    python(server, "assert Job.objects.get().state == 'queued'\nJob.objects.update(state='running')")
    attached(page)
    expect(page.locator("#banner")).to_be_hidden()
