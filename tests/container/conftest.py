"""A real container engine for the tests that need one."""

from collections.abc import Iterator

import pytest

from tests.support.cos.box import Box
from tests.support.cos.cloud import Cloud
from tests.support.cos.image import publish
from tests.support.cos.machine import CosMachine
from tests.support.docker_engine import DockerEngine
from tests.support.maintainer_image import static_tmux


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


@pytest.fixture(scope="module")
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Give a machine that booted for the first time: disk and login came late."""

    def engine() -> DockerEngine:
        found: DockerEngine = request.getfixturevalue("docker_engine")
        return found

    tmux = static_tmux(engine)
    cloud = Cloud().start()
    try:
        image = publish(cloud, tmux)
        machine = CosMachine(tmp_path_factory.mktemp("cos"), cloud)
        try:
            box = Box(machine, image)
            box.start(docker_first=False)
            machine.until_said("offload: booting: data disk")
            assert machine.state() == "activating"
            box.appear()
            box.first = machine.until_booted()
            box.first["log"] = machine.log()
            machine.until_said("offload: ready: up")
            yield box
        finally:
            machine.close()
    finally:
        cloud.stop()
