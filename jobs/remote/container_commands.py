"""The containers of a worker by name, and what their engine says when one is down. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.remote.offload_runner.engine.containers import Containers
from jobs.remote.offload_runner.files.paths import AGENT, BASE, PROOF, SECRET, SECRET_WRITES

CONTAINER = "maintainer-worker"
# Containers that a runner starts for one place of its job, and that end with it.
PLACES = (BASE, PROOF, AGENT, SECRET, SECRET_WRITES)


@dataclass(frozen=True)
class Inside:
    """The engine's command line, and the name of the worker's containers.

    The jobs' code runs in the container `name`, or, with `per_job`, in one container for each job. git runs
    in the control container, which runs no job's code. The base, the proof, the agent and the tasks with a
    secret have containers of their own while they are at work.
    """

    engine: tuple[str, ...] = ("docker",)
    name: str = CONTAINER
    per_job: bool = False

    def container_of(self, session: str) -> str:
        """Return the container that a job's tasks run in."""
        return f"{self.name}-{session}" if self.per_job else self.name

    @property
    def control(self) -> str:
        """Return the container that git runs in."""
        return f"{self.name}-control"

    def others(self, session: str) -> dict[str, str]:
        """Return the containers of the further places of a job, by place."""
        return {place: f"{self.name}-{place}-{session}" for place in PLACES} if session else {}

    def option(self, session: str, runs: Mapping[str, list[str]] | None = None) -> str:
        """Return the value of the runner's option `--containers` for a job.

        `runs`: the engine's words that start the containers of further places.
        """
        jobs = self.container_of(session)
        return Containers(
            list(self.engine), jobs, self.control, self.others(session), dict(runs or {})
        ).to_json()


def not_running(status: int, stderr: bytes) -> bool:
    """Tell whether the engine says that the container is not there or does not run.

    The words are those of Docker and of Podman; they exit with 1, 125 to 127, or 255 then.
    """
    if status not in (1, 125, 126, 127, 255):
        return False
    said = stderr.lower()
    return b"container" in said and any(
        words in said
        for words in (
            b"no such container",
            b"is not running",
            b"can only create exec sessions on running containers",
            b"no container with name or id",
            b"is restarting",
            b"is paused",
        )
    )


def engine_is_away(status: int, stderr: bytes) -> bool:
    """Tell whether the engine's own daemon did not answer."""
    said = stderr.lower()
    return status != 0 and any(
        words in said
        for words in (
            b"cannot connect to the docker daemon",
            b"error during connect",
            b"cannot connect to podman",
            b"unable to connect to podman",
        )
    )
