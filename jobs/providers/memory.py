"""Machines that exist only in this process's memory, for tests and demonstrations.

A cloud behaves like a real one: it accepts a request, takes time, runs out of capacity. Its machines are
reached at this machine, so that real work can run on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.errors import NoCapacity, NotFound, UsageError
from jobs.providers.base import (
    Capabilities,
    Instance,
    InstanceState,
    Problem,
    Severity,
    WorkerProvider,
)
from jobs.transport.endpoint import Endpoint, LocalEndpoint

SETTLES_TO: Mapping[InstanceState, InstanceState | None] = {
    InstanceState.CREATING: InstanceState.RUNNING,
    InstanceState.STOPPING: InstanceState.STOPPED,
    InstanceState.DELETING: None,
}


@dataclass
class MemoryCloud:
    """What all providers of one `cloud` name share. `capacity` counts machines that are not stopped."""

    instances: dict[str, Instance] = field(default_factory=dict)
    capacity: int = 10

    def settle(self) -> None:
        """Let time pass: every accepted request is carried out."""
        for name, instance in list(self.instances.items()):
            if instance.state in SETTLES_TO:
                state = SETTLES_TO[instance.state]
                if state is None:
                    del self.instances[name]
                else:
                    self.instances[name] = replace(instance, state=state)

    def require_capacity(self) -> None:
        """Raise `NoCapacity` when no further machine can run."""
        running = [one for one in self.instances.values() if one.state is not InstanceState.STOPPED]
        if len(running) >= self.capacity:
            raise NoCapacity(
                f"Starting a machine in memory failed: all {self.capacity} places are taken.",
                hint="Stop a machine, or wait for one to end.",
            )


_CLOUDS: dict[str, MemoryCloud] = {}


def cloud(name: str = "default") -> MemoryCloud:
    """Return the cloud of this name, making it at first use."""
    return _CLOUDS.setdefault(name, MemoryCloud())


class MemoryProvider(WorkerProvider):
    """Simulated machines. Its configuration may name a `cloud`."""

    kind = "memory"
    capabilities = Capabilities(creates=True, stops=True)

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._cloud = cloud(str(config.get("cloud", "default")))

    async def create(self, spec: Mapping[str, Any], name: str) -> None:
        """Accept a machine; it runs once the cloud has settled."""
        unknown = set(spec) - {"size"}
        if unknown:
            raise UsageError(f"A machine in memory has no {', '.join(sorted(unknown))}.", hint="Known: size.")
        if name in self._cloud.instances:
            return
        self._cloud.require_capacity()
        self._cloud.instances[name] = Instance(name, InstanceState.CREATING, "made on request", dict(spec))

    async def get(self, name: str) -> Instance | None:
        """Return the machine, or None."""
        return self._cloud.instances.get(name)

    async def list(self) -> Sequence[Instance]:
        """Return every machine."""
        return list(self._cloud.instances.values())

    async def start(self, name: str) -> None:
        """Accept the start of a stopped machine."""
        instance = self._cloud.instances.get(name)
        if instance is None:
            raise NotFound(f"Starting {name} failed: there is no such machine in memory.")
        if instance.state in (InstanceState.STOPPED, InstanceState.STOPPING):
            self._cloud.require_capacity()
            self._cloud.instances[name] = replace(instance, state=InstanceState.CREATING)

    async def stop(self, name: str) -> None:
        """Accept the stop of a machine."""
        instance = self._cloud.instances.get(name)
        if instance and instance.state in (InstanceState.CREATING, InstanceState.RUNNING):
            self._cloud.instances[name] = replace(instance, state=InstanceState.STOPPING)

    async def delete(self, name: str) -> None:
        """Accept the end of a machine."""
        instance = self._cloud.instances.get(name)
        if instance:
            self._cloud.instances[name] = replace(instance, state=InstanceState.DELETING)

    def endpoint(self, instance: Instance) -> Endpoint:
        """Return this machine: that is where the simulated one is reached."""
        return LocalEndpoint()

    async def check(self) -> Sequence[Problem]:
        """Say that nothing can be missing."""
        return [Problem(Severity.PASS, "memory", "Simulated machines need nothing.")]
