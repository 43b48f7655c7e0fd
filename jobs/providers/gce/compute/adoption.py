"""Who owns the machine and the disks that already have the name of a new machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobs.errors import NotConfigured, UsageError
from jobs.providers.base import InstanceState
from jobs.providers.gce.compute import machine_state, naming
from jobs.providers.gce.compute.api import Json
from jobs.providers.gce.compute.template import Settings
from jobs.providers.gce.provider import GceCosProvider


@dataclass(frozen=True)
class Adopted:
    """What a worker would take over from another Offload home of the same owner.

    `home`: its id, empty for what is from before homes were told apart. `since`: when it was made, RFC 3339.
    `in_use`: it is a machine that is not stopped.
    """

    kind: str  # machine, data disk
    name: str
    zone: str
    home: str
    since: str
    in_use: bool = False

    @property
    def origin(self) -> str:
        """Return who made it, and when, as a sentence's beginning."""
        who = f"Another Offload home of yours ({self.home})" if self.home else "An Offload home without an id"
        return f"{who} made the {self}" + (f" on {self.since[:10]}" if self.since else "")

    def __str__(self) -> str:
        return f"{self.kind} {self.name} in {self.zone}"

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` shows it."""
        return {**asdict(self), "home": self.home or None, "since": self.since or None}


async def disks(
    config: Mapping[str, Any], settings: Settings, name: str, zones: Sequence[str]
) -> tuple[str, list[Adopted]]:
    """Return where this home keeps a data disk of the name (empty: nowhere), and those of other homes.

    All zones of the project are looked at, `zones` first; for those of other homes only the ones outside of
    these: see `look` for the rest. What is in a zone that was `tried`, where no machine ever ran, is blank.
    """
    found = await GceCosProvider({**config, "zone": settings.zone}).disks()
    by_zone = {
        naming.last(str(one.get("zone"))): one for one in found if one["name"] == naming.data_disk(name)
    }
    ours = ("", naming.label(settings.home_id), *(config.get("adopts") or ()))
    for zone in [*zones, *(zone for zone in by_zone if zone not in zones)]:
        if zone not in by_zone or zone in (config.get("tried") or ()):
            continue
        if naming.home_of(by_zone[zone]) in ours:
            return zone, []
    outside: list[Adopted] = []
    for zone, raw in by_zone.items():
        if zone not in zones:
            outside += _from_elsewhere(config, replace(settings, zone=zone), "data disk", raw)
    return "", outside


async def look(config: Mapping[str, Any], settings: Settings, name: str) -> Sequence[Adopted]:
    """Return what of another home would be taken over in the zone of `settings`.

    Raises `UsageError` when the machine's name, or that of one of its disks, belongs to another owner. The
    homes that the configuration `adopts` count as this one.
    """
    provider = GceCosProvider({**config, "zone": settings.zone})
    doing = f"Making the machine {name} in {settings.zone}"
    try:
        machine, disk, boot = await asyncio.gather(
            provider.raw(name), provider.disk(name), provider.named_disk(name)
        )
    except NotConfigured as error:
        if "unknown zone" in error.message.lower():
            return []  # of an endpoint without a list of zones: Google's zones were asked for by name
        raise
    if machine is not None:
        provider.require_ours(machine, f"machine {name}", doing)
        in_use = machine_state.state_of(machine) is not InstanceState.STOPPED
        return _from_elsewhere(config, settings, "machine", machine, in_use=in_use)
    if disk is not None and name not in naming.attached_to(disk):
        provider.require_usable_disk(disk, name, doing)
    if boot is not None:
        _refuse_boot_disk(provider, boot, doing)
    return _from_elsewhere(config, settings, "data disk", disk) if disk is not None else []


def _from_elsewhere(
    config: Mapping[str, Any], settings: Settings, kind: str, raw: Json, *, in_use: bool = False
) -> list[Adopted]:
    home = naming.home_of(raw)
    if home in (naming.label(settings.home_id), *(config.get("adopts") or ())):
        return []
    since = str(raw.get("creationTimestamp") or "")
    return [Adopted(kind, str(raw.get("name")), settings.zone, home, since, in_use)]


def _refuse_boot_disk(provider: GceCosProvider, boot: Json, doing: str) -> None:
    """Raise `UsageError`: a boot disk is made with its machine, so one that is there stands in the way.

    It is refused, no matter who made it: it is not ours to take or to delete unasked.
    """
    name, settings = str(boot.get("name")), provider.settings
    whose = "that Offload did not make"
    if naming.is_ours(boot, ""):
        owner = (boot.get("labels") or {}).get(naming.OWNER) or "no one"
        whose = f"that a machine of {owner} left"
        if naming.is_ours(boot, settings.owner):
            own = naming.home_of(boot) == naming.label(settings.home_id)
            whose = f"that a machine of {'this' if own else 'another'} Offload home of yours left"
    if users := naming.attached_to(boot):
        whose += f", and {', '.join(users)} uses it"
    raise UsageError(
        f"{doing} failed: there is a disk {name} already, {whose}, and its boot disk would be called so.",
        hint="Choose another name; or, if that disk is not needed, delete it: "
        f"`gcloud compute disks delete {name} --zone {settings.zone} --project {settings.project}`.",
    )
