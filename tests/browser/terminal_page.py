"""The terminal's page in real Chromium: what its tests share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.terminal_server import TerminalServer

expect.set_options(timeout=20_000)
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# What the terminal shows: the lines of its screen and of its scrollback.
TEXT = """() => {
  const term = document.getElementById("terminal").offload?.term;
  if (!term) return "";
  const buffer = term.buffer.active;
  const line = (_, y) => buffer.getLine(y)?.translateToString(true);
  return Array.from({length: buffer.length}, line).join("\\n");
}"""
# Its size in cells.
SIZE = "(t => `${t.cols}x${t.rows}`)(document.getElementById('terminal').offload.term)"


def new_context(chromium: Browser, server: TerminalServer, **options: Any) -> BrowserContext:
    """Return a browser profile that is logged in and may use the clipboard."""
    options.setdefault("viewport", {"width": 1100, "height": 700})
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
    context.add_cookies([{"name": server.cookie_name, "value": server.cookies["local"], "url": server.url}])
    return context


def open_terminal(
    context: BrowserContext, server: TerminalServer, query: str = "", kind: str = "", job: int = 0
) -> Page:
    """Open the terminal of the n-th job and wait until it is attached."""
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{server.url}/terminals/{server.jobs[job]}/{kind}{query}")
    attached(page)
    return page


def until(
    page: Page,
    script: str,
    argument: object = None,
    patience: float = 30.0,
    again: Callable[[], object] = lambda: None,
) -> None:
    """Wait until a script is true, doing `again` before each look.

    (Playwright's own waiting needs `eval`, which our policy forbids.)
    """
    deadline = time.monotonic() + patience
    again()
    while not page.evaluate(script, argument):
        again()
        assert time.monotonic() < deadline, f"never true: {script}\n{page.evaluate(TEXT)}"
        page.wait_for_timeout(30)


def attached(page: Page, patience: float = 30.0) -> None:
    """Wait until the page is attached."""
    script = "() => Boolean(document.getElementById('terminal')?.offload?.state.attached)"
    until(page, script, patience=patience)


def shows(page: Page, text: str) -> None:
    """Wait until the terminal shows a text."""
    until(page, f"text => ({TEXT})().includes(text)", text)


def on_top(page: Page, text: str) -> int:
    """Wait until the screen was cleared and begins with a text; return that line's row."""
    row = "(b => b.getLine(b.baseY).translateToString(true).startsWith(text) ? b.baseY : -1)"
    script = f"text => {row}(document.getElementById('terminal').offload.term.buffer.active)"
    until(page, f"text => ({script})(text) >= 0", text)
    return int(page.evaluate(script, text))


def run(page: Page, command: str) -> None:
    """Type a command line."""
    page.locator("#terminal").click()
    page.keyboard.type(command + "\n")


def size(page: Page) -> str:
    """Return the terminal's size in cells."""
    return str(page.evaluate(SIZE))


def client_sizes(server: TerminalServer) -> list[str]:
    """Return the sizes of the session's tmux clients."""
    form = "#{client_width}x#{client_height}"
    return server.tmux("list-clients", "-t", f"={server.sessions[0]}", "-F", form).split()


def offload(page: Page, expression: str, argument: object = None) -> Any:
    """Evaluate an expression over `offload`, the page's parts, and `arg`."""
    body = f"const {{offload}} = document.getElementById('terminal'); return {expression}"
    return page.evaluate(f"async arg => {{ {body} }}", argument)


def write(page: Page, text: str) -> None:
    """Draw bytes as if the terminal had sent them: for what tmux would not pass on."""
    offload(page, "new Promise(done => offload.term.write(arg, () => done(true)))", text)
