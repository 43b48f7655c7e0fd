"""What is written of what happens, and what is not."""

import logging
import logging.config
from collections.abc import Iterator

import pytest

from offload_web.logging import logging_settings


@pytest.fixture
def _root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_root")
def test_a_tunnel_that_ends_while_it_is_closed_is_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_settings(debug=False))
    log = logging.getLogger("asyncio")
    log.warning("Unknown child process pid %d, will report returncode 255", 4711)  # asyncio.unix_events
    log.warning("Executing %s took %.3f seconds", "a callback", 2.5)
    said = capsys.readouterr().err
    assert "4711" not in said
    assert "took 2.500 seconds" in said
