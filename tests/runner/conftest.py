"""Fixtures of the runner's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.runner_root import RunnerRoot


@pytest.fixture
def root() -> Iterator[RunnerRoot]:
    """A worker's root of one's own."""
    made = RunnerRoot()
    yield made
    made.close()
