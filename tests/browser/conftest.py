"""Chromium, a server with sessions, and a profile that is logged in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.terminal_page import CHROMIUM, new_context
from tests.support.terminal_server import TerminalServer

# WebGL without a graphics card.
ARGUMENTS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP offload.test 127.0.0.1",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def terminal_server() -> Iterator[TerminalServer]:
    with TerminalServer(sessions=20) as running:
        yield running


@pytest.fixture
def server(terminal_server: TerminalServer) -> TerminalServer:
    """The file's server; its first session is new."""
    terminal_server.take_next_session()
    return terminal_server


@pytest.fixture
def context(chromium: Browser, server: TerminalServer) -> Iterator[BrowserContext]:
    context = new_context(chromium, server)
    yield context
    context.close()
