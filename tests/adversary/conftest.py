"""The fixtures of the runner's and the container's tests, for attacks on both."""

from tests.container.conftest import docker_engine, engine_of_class
from tests.runner.conftest import root

__all__ = ["docker_engine", "engine_of_class", "root"]
