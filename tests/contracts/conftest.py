"""A real sshd per module, and a pool per test."""

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from jobs.transport.pool import Pool
from jobs.transport.ssh import Timing
from tests.support.sshd import Sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def fresh_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A server of one test's own, to be broken."""
    with Sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(Timing(connect=10.0, keepalive=10.0))
    yield pool
    await pool.aclose()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the server's log with a failure."""
    report = yield
    server = getattr(item, "funcargs", {}).get("sshd") or getattr(item, "funcargs", {}).get("fresh_sshd")
    if report.failed and server is not None:
        report.sections.append(("sshd log", server.log.read_text(errors="replace")[-8000:]))
    return report
