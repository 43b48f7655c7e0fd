"""How commands get into a worker's container: command lines only, nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONTAINER = "maintainer-worker"
# In the container the interpreter is the image's, whatever the host calls its own.
PYTHON = "python3"


@dataclass(frozen=True)
class Inside:
    """The way in: the engine's command line, and the name of the worker's container.

    With `per_job`, each job's plan runs in a container of its own; worktrees are still made in the
    worker's.
    """

    engine: tuple[str, ...] = ("docker",)
    name: str = CONTAINER
    per_job: bool = False

    def container_of(self, session: str) -> str:
        """Return the container that a job's plan runs in."""
        return f"{self.name}-{session}" if self.per_job else self.name

    def argv(
        self,
        container: str,
        command: Sequence[str],
        *,
        tty: bool = False,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Return the command that runs `command` in a container."""
        words = [*self.engine, "exec", "-it" if tty else "-i"]
        for name, value in (env or {}).items():
            words += ["-e", f"{name}={value}"]
        if cwd:
            words += ["-w", cwd]
        return [*words, container, *command]


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
