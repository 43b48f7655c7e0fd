"""What every test of terminals may count on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.terminal_server import TerminalServer
from tests.support.websocket import WebSocket


@pytest_asyncio.fixture(autouse=True)
async def no_socket_is_left_open() -> AsyncIterator[None]:
    """A test that fails leaves its sockets; they must not fail the next one."""
    yield
    await WebSocket.kill_all()


@pytest.fixture(scope="module")
def server() -> Iterator[TerminalServer]:
    with TerminalServer(sessions=4) as running:
        yield running
