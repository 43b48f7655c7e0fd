"""What the life cycle needs of Compute Engine: `GceCosProvider`, and everything else in the project."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.errors import OffloadError
from jobs.providers.base import Ability, CloudProvider, Instance, Price, Problem, Resource
from jobs.providers.gce.compute import naming, prices
from jobs.providers.gce.compute.api import load_library
from jobs.providers.gce.compute.inventory import Inventory, disk_of
from jobs.providers.gce.compute.shared_resources import Ground, grounds
from jobs.providers.gce.compute.template import read_spec
from jobs.providers.gce.onboarding import place_check
from jobs.providers.gce.provider import GceCosProvider
from jobs.transport.endpoint import Endpoint

# Guest attributes take ten queries a minute and machine, three of a second, writes of the guest included:
# https://cloud.google.com/compute/docs/metadata/manage-guest-attributes
HOST_KEYS_SECONDS = 10.0
# What `.gcp/boot.sh.j2` writes to the serial console.
_SAID = re.compile(r"offload: (?:boot (?P<boot>[0-9a-f-]{36})|(?P<state>booting|failed|ready): (?P<rest>.*))")


class GceCloud(CloudProvider):
    """Machines of one project. The zone is the configuration's `zone`, else the first of its `zones`."""

    abilities = frozenset({Ability.CONSOLE, Ability.RESIZE})

    kind = GceCosProvider.kind

    def __init__(self, config: Mapping[str, Any]) -> None:
        zones = config.get("zones") or [""]
        self._config = {**config, "zone": config.get("disk_zone") or config.get("zone") or zones[0]}
        self.machines = GceCosProvider(self._config)
        self._inventory = Inventory(self.machines)
        self._grounds: dict[str, Ground] = {}
        self._consoles: dict[str, tuple[int, dict[str, str]]] = {}  # how far read, and what was said there
        self._host_keys: dict[str, tuple[float, Sequence[str]]] = {}  # when asked for, and the answer

    def _in_zone(self, zone: str) -> GceCosProvider:
        return GceCosProvider({**self._config, "zone": zone}) if zone else self.machines

    @classmethod
    def prepare(cls) -> None:
        """Import Google's library: seconds, and more on a busy computer."""
        load_library()

    async def create(self, spec: Mapping[str, Any], name: str) -> None:
        """Ask for the machine in the spec's `zone`."""
        rest = {key: value for key, value in spec.items() if key != "zone"}
        await self._in_zone(str(spec.get("zone") or "")).create(rest, name)

    async def get(self, name: str) -> Instance | None:
        """Return the machine, or None."""
        return await self.machines.get(name)

    async def list(self) -> Sequence[Instance]:
        """Return every machine of ours in the project."""
        return await self.machines.list()

    async def _of(self, name: str) -> GceCosProvider:
        """Return the provider of the zone that a machine is in (a sweep meets machines of any zone)."""
        if await self.machines.get(name) is not None:
            return self.machines
        for instance in await self.machines.list():
            if instance.name == name:
                return self._in_zone(str(instance.data.get("zone") or ""))
        return self.machines

    async def start(self, name: str) -> None:
        """Ask a stopped machine to start."""
        await self.machines.start(name)

    async def stop(self, name: str) -> None:
        """Ask a machine to stop, in whichever zone it is."""
        await (await self._of(name)).stop(name)

    async def delete(self, name: str) -> None:
        """Ask for the machine to be deleted; the data disk stays."""
        await self.machines.delete(name)

    async def resources(self) -> Sequence[Resource]:
        """Return machines, data disks, boot disks without a machine, and addresses, in all zones."""
        found = [
            Resource(
                "instance", one.name, str(one.data.get("zone") or ""), one.name, detail=one.state.value,
                home=str(one.data.get("home_id") or ""),
            )
            for one in await self.machines.list()
        ]  # fmt: skip
        found += [one for raw in await self.machines.disks() if (one := disk_of(raw)) is not None]
        return found + await self._inventory.addresses()

    async def shared(self) -> Sequence[Resource]:
        """Return networks with their parts, and snapshot schedules."""
        return await self._inventory.shared()

    def shared_groups(self) -> frozenset[str]:
        """Return the network and its part in each region, and the snapshot schedule if there is one."""
        return grounds(
            self.machines.settings, int((self._config.get("spec") or {}).get("snapshot_days") or 0)
        )

    async def remove(self, resource: Resource) -> None:
        """Ask for a resource to be deleted."""
        provider = self._in_zone(resource.place)
        if resource.kind == "instance":
            await provider.delete(resource.name)
        elif resource.kind == "disk":
            await provider.delete_disk(resource.owner)
        else:
            await self._inventory.remove(resource)

    async def still_exists(self, resource: Resource) -> bool:
        """Return whether a resource is still there."""
        return await self._inventory.find(resource) is not None

    async def find_failure(self, name: str) -> OffloadError | None:
        """Return why the newest operation on the machine failed."""
        return await self.machines.failure(name)

    async def report(self, name: str) -> Mapping[str, str]:
        """Return what the machine said last about its boot on the serial console.

        Empty when it has none: the machine is gone, is down, or the endpoint offers no consoles.
        """
        start, said = self._consoles.get(name, (0, {}))
        try:
            text, following = await self.machines.serial(name, start)
            if following < start:  # of a new machine
                said = {}
                text, following = await self.machines.serial(name)
        except OffloadError:
            return said
        lines, _, rest = text.rpartition("\n")
        for found in _SAID.finditer(lines):
            if found["boot"]:
                said = {"boot_id": found["boot"]}
                continue
            step, _, error = found["rest"].strip().partition(": ")
            boot = {"boot_id": said["boot_id"]} if "boot_id" in said else {}
            said = {"state": found["state"], "step": step, "error": error, **boot}
        self._consoles[name] = following - len(rest.encode()), said
        return said

    async def console(self, name: str) -> str:
        """Return the serial console from its beginning, as far as Google keeps it (1 MB)."""
        return (await self.machines.serial(name))[0]

    async def resize(self, name: str, size: str) -> None:
        """Ask for another machine type."""
        await self.machines.resize(name, size)

    async def price(self, spec: Mapping[str, Any]) -> Price | None:
        """Return what a machine of this spec costs, from the dated table; None when it is not in it."""
        wanted = read_spec({key: value for key, value in spec.items() if key != "zone"})
        zone = str(spec.get("zone") or self.machines.settings.zone)
        disks = {wanted.disk_type: wanted.boot_disk_gb}
        data = wanted.data_disk_type or wanted.disk_type
        disks[data] = disks.get(data, 0) + wanted.data_disk_gb
        found = prices.estimate(
            wanted.machine_type,
            naming.region_of(zone),
            disks,
            spot=wanted.spot,
            external_ip=wanted.external_ip,
        )
        if found.machine_hour is None:
            return None
        hour = found.disks_month / prices.HOURS_PER_MONTH
        parts = {"machine": found.machine_hour, "disks": hour}
        return Price(found.machine_hour + hour, hour, found.as_of, found.source, parts=parts)

    async def host_keys(self, name: str) -> Sequence[str]:
        """Return the keys that the guest published; within ten seconds, without asking again."""
        asked, keys = self._host_keys.get(name, (-HOST_KEYS_SECONDS, []))
        if time.monotonic() - asked >= HOST_KEYS_SECONDS:
            keys = await self.machines.host_keys(name)
            self._host_keys[name] = time.monotonic(), keys
        return keys

    async def create_shared(self, zone: str) -> str | None:
        """Ask for the next missing part of the network, then for the snapshot schedule."""
        if zone not in self._grounds:
            self._grounds[zone] = Ground(self._in_zone(zone), self._config)
        return await self._grounds[zone].next_step()

    def endpoint(self, instance: Instance) -> Endpoint:
        """Return where the machine is reached."""
        return self.machines.endpoint(instance)

    def ways(self, instance: Instance) -> Mapping[str, Endpoint]:
        """Return where the machine is reached by each strategy."""
        return self.machines.ways(instance)

    async def check(self) -> Sequence[Problem]:
        """Look at what is needed."""
        spec = {key: value for key, value in (self._config.get("spec") or {}).items() if key != "zone"}
        return await place_check.check(self.machines.api, self.machines.settings, read_spec(spec))
