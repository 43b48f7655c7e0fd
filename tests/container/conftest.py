"""A real container engine for the tests that need one."""

from collections.abc import Iterator

import pytest

from tests.support.docker_engine import DockerEngine


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """Give an engine with a small image, one for each process of the test run."""
    engine = DockerEngine()
    try:
        yield engine.start().load_base()
    finally:
        engine.stop()


@pytest.fixture(scope="class")
def engine_of_class(request: pytest.FixtureRequest, docker_engine: DockerEngine) -> None:
    """Give a test class the engine."""
    request.cls.engine = docker_engine
