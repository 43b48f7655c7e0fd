"""One container engine on one worker: asking it, and what kind of engine it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from jobs.errors import NotConfigured, WorkerUnavailable
from jobs.remote.container_commands import engine_is_away
from jobs.transport.base import Completed, Transport
from jobs.workers.container.spec import ContainerSpec, EngineKind, bare_id

ENGINE_DEADLINE = 120.0
KNOWN_ENGINES = (("docker",), ("podman",))


def engines_here() -> list[tuple[str, ...]]:
    """Return the engines that there may be on this machine, as words, in the order in which to ask them.

    A session's pane has none of our variables, so that where the engine is must be in its words.
    """
    host = os.environ.get("DOCKER_HOST")
    return [("docker", "-H", host), *KNOWN_ENGINES] if host else [*KNOWN_ENGINES]


class Engine:
    """One container engine on one worker."""

    def __init__(self, transport: Transport, spec: ContainerSpec) -> None:
        self.transport = transport
        self.words = spec.engine

    async def ask(self, *words: str, deadline: float = ENGINE_DEADLINE) -> Completed:
        """Run one command of the engine. Raises `NotConfigured` without an engine, `WorkerUnavailable`."""
        done = await self.transport.run([*self.words, *words], deadline=deadline, check=False)
        said = done.stderr.decode(errors="replace").strip()
        if done.exit_status == 127 or (done.exit_status == 126 and not said):
            raise NotConfigured(
                f"Running {' '.join(self.words)} on the worker failed: {said or 'there is no such program'}.",
                hint="Install Docker (or Podman) there, or add the worker with --no-container.",
            )
        if engine_is_away(done.exit_status, done.stderr):
            raise WorkerUnavailable(
                f"The container engine on the worker does not answer: {said.splitlines()[-1]}",
                hint="Start it there (`systemctl start docker`), and see that the ssh user may use it.",
            )
        if done.exit_status != 0 and b"permission denied" in done.stderr.lower():
            raise NotConfigured(
                f"The ssh user may not use the container engine: {said.splitlines()[-1]}",
                hint="Add the user to the group `docker`, or set the worker's engine to `sudo -n docker`.",
            )
        return done

    async def inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return what the engine says of a container or an image; None when it is not there."""
        done = await self.ask("inspect", "--type", kind, name)
        if done.exit_status != 0:
            return None
        found = json.loads(done.stdout)
        return dict(found[0]) if found else None

    async def must(self, doing: str, *words: str) -> bytes:
        """Run a command that has to succeed; return its output. Raises `WorkerUnavailable`."""
        done = await self.ask(*words)
        if done.exit_status != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise WorkerUnavailable(
                f"{doing} failed: {said[-1] if said else f'exit status {done.exit_status}'}",
                hint="`manage.py doctor` looks at the worker's container engine.",
            )
        return done.stdout

    async def info(self) -> dict[str, Any]:
        """Return what the engine says of itself. Raises what `ask` and `must` raise."""
        said = await self.must("Asking the container engine", "info", "--format", "{{json .}}")
        try:
            info = json.loads(said)
        except ValueError:
            info = None
        if not isinstance(info, dict):
            raise NotConfigured(
                f"`{' '.join(self.words)} info` on the worker answered with something else than its facts.",
                hint="Name Docker or Podman: `--engine docker` or `--engine podman`.",
            )
        if info.get("ServerErrors"):
            raise WorkerUnavailable(
                f"The container engine on the worker does not answer: {info['ServerErrors'][0]}",
                hint="Start it there (`systemctl start docker`), and see that the ssh user may use it.",
            )
        return info


def kind_of(info: Mapping[str, Any]) -> EngineKind:
    """Return the kind of engine that `info` describes: Docker's and Podman's words differ. Pure."""
    host = info.get("host")
    if isinstance(host, Mapping):
        security = host.get("security") or {}
        return EngineKind(podman=True, rootless=bool(security.get("rootless")))
    options = [str(option).split(",")[0] for option in info.get("SecurityOptions") or ()]
    return EngineKind(rootless="name=rootless" in options, remapped="name=userns" in options)


def version_of(info: Mapping[str, Any]) -> str:
    """Return the engine's version, as `info` has it. Pure."""
    version = info.get("version")
    return str(version.get("Version") if isinstance(version, Mapping) else info.get("ServerVersion") or "?")


def name_of(image: Mapping[str, Any]) -> str:
    """Return the name by which an image is the same everywhere: its registry digest, else its id."""
    # Podman makes digests up for images that no registry knows.
    digests = [one for one in image.get("RepoDigests") or () if not str(one).startswith("localhost/")]
    return str(digests[0]) if digests else f"sha256:{bare_id(image['Id'])}"
