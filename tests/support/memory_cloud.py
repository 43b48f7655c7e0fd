"""Machines that exist only in this process's memory: the provider `memory`, which only tests have.

A cloud behaves like a real one: it accepts a request, takes time, runs out of capacity. Its machines are
reached at this machine, so that real work can run on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.errors import NoCapacity, NotFound, OffloadError, UsageError
from jobs.providers import registry
from jobs.providers.base import (
    Ability,
    CloudProvider,
    Instance,
    InstanceState,
    Price,
    Problem,
    Resource,
    Severity,
)
from jobs.transport.endpoint import Endpoint, LocalEndpoint

SETTLES_TO: Mapping[InstanceState, InstanceState | None] = {
    InstanceState.CREATING: InstanceState.RUNNING,
    InstanceState.STOPPING: InstanceState.STOPPED,
    InstanceState.DELETING: None,
}
SPEC = frozenset({"size", "zone", "spot"})
SIZES: Mapping[str, float] = {"small": 0.05, "large": 0.4}
DISK_PRICE = 0.03


@dataclass
class MemoryCloud:
    """What all providers of one `cloud` name share. `capacity` counts machines that are not stopped.

    `full`: (zone, spot) pairs that have no room; found out `late` (after the request was accepted) or at
    once. With `pace`, a request is carried out after so many looks instead of by `settle`.
    """

    instances: dict[str, Instance] = field(default_factory=dict)
    disks: set[tuple[str, str]] = field(default_factory=set)
    addresses: dict[str, str] = field(default_factory=dict)
    reports: dict[str, dict[str, str]] = field(default_factory=dict)
    troubles: dict[str, OffloadError] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    capacity: int = 10
    full: set[tuple[str, bool]] = field(default_factory=set)
    late: bool = False
    pace: int = 0
    looks: int = 0

    def settle(self) -> None:
        """Let time pass: every accepted request is carried out."""
        for name, instance in list(self.instances.items()):
            if instance.state not in SETTLES_TO:
                continue
            state = SETTLES_TO[instance.state]
            place = (str(instance.data.get("zone", "")), bool(instance.data.get("spot")))
            if state is InstanceState.RUNNING and place in self.full:
                self.troubles[name] = no_room(name, *place)
                state = None
            if state is None:
                del self.instances[name]
            else:
                self.instances[name] = replace(instance, state=state)

    def look(self) -> None:
        """Count a look; with a `pace`, time passes by them."""
        if self.pace:
            self.looks += 1
            if self.looks % self.pace == 0:
                self.settle()

    def require_capacity(self) -> None:
        """Raise `NoCapacity` when no further machine can run."""
        running = [one for one in self.instances.values() if one.state is not InstanceState.STOPPED]
        if len(running) >= self.capacity:
            raise NoCapacity(
                f"Starting a machine in memory failed: all {self.capacity} places are taken.",
                hint="Stop a machine, or wait for one to end.",
            )


def no_room(name: str, zone: str, spot: bool) -> NoCapacity:
    """Return the error of a zone that has no room."""
    kind = "spot" if spot else "on-demand"
    return NoCapacity(
        f"Making {name} failed: {zone or 'memory'} has no {kind} machine left.", hint="Try another zone."
    )


_CLOUDS: dict[str, MemoryCloud] = {}


def cloud(name: str = "default") -> MemoryCloud:
    """Return the cloud of this name, making it at first use."""
    return _CLOUDS.setdefault(name, MemoryCloud())


class MemoryProvider(CloudProvider):
    """Simulated machines. Its configuration may name a `cloud`."""

    kind = "memory"
    abilities = frozenset({Ability.CONSOLE, Ability.RESIZE})

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._cloud = cloud(str(config.get("cloud", "default")))

    async def create(self, spec: Mapping[str, Any], name: str) -> None:
        """Accept a machine; it runs once the cloud has settled."""
        unknown = set(spec) - SPEC
        if unknown:
            raise UsageError(
                f"A machine in memory has no {', '.join(sorted(unknown))}.",
                hint=f"Known: {', '.join(sorted(SPEC))}.",
            )
        if name in self._cloud.instances:
            return
        self._cloud.requests.append(("create", name))
        self._cloud.require_capacity()
        place = (str(spec.get("zone", "")), bool(spec.get("spot")))
        if not self._cloud.late and place in self._cloud.full:
            raise no_room(name, *place)
        self._cloud.troubles.pop(name, None)
        self._cloud.disks.add((name, place[0]))
        self._cloud.instances[name] = Instance(name, InstanceState.CREATING, "made on request", dict(spec))

    async def get(self, name: str) -> Instance | None:
        """Return the machine, or None."""
        self._cloud.look()
        return self._cloud.instances.get(name)

    async def list(self) -> Sequence[Instance]:
        """Return every machine."""
        if any(one.state is InstanceState.STOPPING for one in self._cloud.instances.values()):
            self._cloud.look()
        return list(self._cloud.instances.values())

    async def start(self, name: str) -> None:
        """Accept the start of a stopped machine."""
        instance = self._cloud.instances.get(name)
        if instance is None:
            raise NotFound(f"Starting {name} failed: there is no such machine in memory.")
        if instance.state in (InstanceState.STOPPED, InstanceState.STOPPING):
            self._cloud.requests.append(("start", name))
            self._cloud.require_capacity()
            self._cloud.instances[name] = replace(instance, state=InstanceState.CREATING)

    async def stop(self, name: str) -> None:
        """Accept the stop of a machine."""
        instance = self._cloud.instances.get(name)
        if instance and instance.state in (InstanceState.CREATING, InstanceState.RUNNING):
            self._cloud.requests.append(("stop", name))
            self._cloud.instances[name] = replace(instance, state=InstanceState.STOPPING)

    async def delete(self, name: str) -> None:
        """Accept the end of a machine; its disk stays."""
        instance = self._cloud.instances.get(name)
        if instance:
            self._cloud.requests.append(("delete", name))
            self._cloud.instances[name] = replace(instance, state=InstanceState.DELETING)

    async def resources(self) -> Sequence[Resource]:
        """Return machines, disks and addresses."""
        if any(one.state is InstanceState.DELETING for one in self._cloud.instances.values()):
            self._cloud.look()
        found = [
            Resource("instance", one.name, str(one.data.get("zone", "")), one.name, detail=one.state.value)
            for one in self._cloud.instances.values()
        ]
        found += [Resource("disk", name, zone, name) for name, zone in sorted(self._cloud.disks)]
        return found + [Resource("address", name, "", owner) for name, owner in self._cloud.addresses.items()]

    async def remove(self, resource: Resource) -> None:
        """Remove a machine (in time), a disk or an address (at once)."""
        if resource.kind == "instance":
            await self.delete(resource.name)
        elif resource.kind == "disk":
            self._cloud.disks.discard((resource.name, resource.place))
        else:
            self._cloud.addresses.pop(resource.name, None)

    async def find_failure(self, name: str) -> OffloadError | None:
        """Return why a machine that was accepted never came."""
        return self._cloud.troubles.get(name)

    async def report(self, name: str) -> Mapping[str, str]:
        """Return what a test had the machine say."""
        return self._cloud.reports.get(name, {})

    async def console(self, name: str) -> str:
        """Return one line: these machines have no console."""
        if name not in self._cloud.instances:
            raise NotFound(f"There is no machine {name} in memory.")
        return f"{name}: {self._cloud.instances[name].state}\n"

    async def resize(self, name: str, size: str) -> None:
        """Give a stopped machine another size."""
        instance = self._cloud.instances.get(name)
        if instance is None:
            raise NotFound(f"Resizing {name} failed: there is no such machine in memory.")
        if size not in SIZES:
            raise UsageError(f"There is no size {size!r} in memory.", hint=f"Known: {', '.join(SIZES)}.")
        if instance.state is not InstanceState.STOPPED:
            raise UsageError(f"Resizing {name} failed: it is {instance.state}.", hint="Stop it first.")
        self._cloud.instances[name] = replace(instance, data={**instance.data, "size": size})

    async def price(self, spec: Mapping[str, Any]) -> Price | None:
        """Return a made-up price."""
        hour = SIZES.get(str(spec.get("size") or "small"))
        if hour is None:
            return None
        hour = hour * (0.3 if spec.get("spot") else 1)
        parts = {"machine": hour, "disk": DISK_PRICE}
        return Price(hour + DISK_PRICE, DISK_PRICE, "2026-01-01", "made up", parts=parts)

    def endpoint(self, instance: Instance) -> Endpoint:
        """Return this machine: that is where the simulated one is reached."""
        return LocalEndpoint()

    async def check(self) -> Sequence[Problem]:
        """Say that nothing can be missing."""
        return [Problem(Severity.PASS, "memory", "Simulated machines need nothing.")]


registry.PROVIDERS["memory"] = registry.CLOUDS["memory"] = f"{__name__}:MemoryProvider"
