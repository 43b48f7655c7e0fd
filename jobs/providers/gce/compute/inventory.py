"""Our resources in a project other than machines and data disks, and how they are deleted.

Addresses and disks carry our labels. Networks, subnetworks, routers, firewall rules and resource policies
can carry none: their description marks them, and names whose they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass

from jobs.errors import NotFound
from jobs.providers.base import Resource
from jobs.providers.gce.compute import naming, prices
from jobs.providers.gce.compute.api import Json
from jobs.providers.gce.compute.requests import Requests


@dataclass(frozen=True)
class Kind:
    """A kind of resource. `scope`: `zone`, `region` or `global`; `labelled`: it carries labels."""

    service: str
    field: str
    scope: str
    labelled: bool = False
    billed: bool = False


KINDS: Mapping[str, Kind] = {
    "instance": Kind("instances", "instance", "zone", labelled=True, billed=True),
    "disk": Kind("disks", "disk", "zone", labelled=True, billed=True),
    "boot disk": Kind("disks", "disk", "zone", labelled=True, billed=True),
    "address": Kind("addresses", "address", "region", labelled=True, billed=True),
    "firewall rule": Kind("firewalls", "firewall", "global"),
    "router": Kind("routers", "router", "region", billed=True),  # its NAT gateway costs
    "subnetwork": Kind("subnetworks", "subnetwork", "region"),
    "network": Kind("networks", "network", "global"),
    "snapshot schedule": Kind("resource_policies", "resource_policy", "region"),
}
NETWORK_KINDS = ("firewall rule", "router", "subnetwork", "network")


def group(network: str, region: str = "") -> str:
    """Return what a part of a network belongs to: the network, or its part in a region."""
    return f"{network}/{region}" if region else network


def worker_of(raw: Json) -> str:
    """Return the name of the worker that a labelled resource was made for."""
    return str((raw.get("labels") or {}).get(naming.WORKER) or "")


def disk_of(raw: Json) -> Resource | None:
    """Return a data disk, or a boot disk that no machine has; None for one that goes with its machine."""
    home = naming.home_of(raw)
    zone = naming.last(str(raw.get("zone") or ""))
    owner = worker_of(raw)
    if raw.get("name") == naming.data_disk(owner):
        gigabytes = int(raw.get("sizeGb") or 0)
        kind = naming.last(str(raw.get("type") or "")) or "pd-balanced"
        price = prices.estimate("", naming.region_of(zone), {kind: gigabytes}).disks_month
        return Resource(
            "disk", str(raw["name"]), zone, owner, detail=f"{gigabytes} GB", home=home, month=price or None,
        )  # fmt: skip
    if raw.get("users"):
        return None
    return Resource("boot disk", str(raw["name"]), zone, owner, home=home)


class Inventory:
    """Finds and removes what `requests` may touch: that which is marked as its owner's."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._owner = requests.settings.owner
        self._home_id = requests.settings.home_id

    def _is_ours(self, kind: Kind, raw: Json) -> bool:
        if kind.labelled:
            return naming.is_ours(raw, self._owner)
        made_for = naming.made_for(raw)
        return made_for is not None and (not self._owner or made_for == naming.label(self._owner))

    async def _list(self, text: str) -> list[tuple[Json, str]]:
        """Return all of a kind, each with its place (a zone, a region, or empty)."""
        kind = KINDS[text]
        doing = f"Listing what there is of kind {text} in {self._requests.settings.project}"
        listing: Awaitable[Sequence[Json]] = (
            self._requests.api.pages(kind.service, "list", doing)
            if kind.scope == "global"
            else self._requests.spread(kind.service, doing)
        )
        found = await listing
        return [(raw, naming.last(str(raw.get(kind.scope) or ""))) for raw in found]

    async def addresses(self) -> list[Resource]:
        """Return the reserved addresses."""
        return [
            Resource("address", str(raw["name"]), region, worker_of(raw), home=naming.home_of(raw))
            for raw, region in await self._list("address")
            if self._is_ours(KINDS["address"], raw)
        ]

    async def shared(self) -> list[Resource]:
        """Return what stands under several machines, in the order in which it can go.

        A resource that a machine of another owner or of another home needs is `in_use`. For those that this
        home made, their workers' rows speak.
        """
        parts = [
            (text, raw, place)
            for text in NETWORK_KINDS
            for raw, place in await self._list(text)
            if self._is_ours(KINDS[text], raw)
        ]
        used = await self._used_grounds() if parts else frozenset()
        found = []
        for text, raw, place in parts:
            network = naming.last(str(raw.get("network") or raw["name"]))
            found.append(
                Resource(
                    text,
                    str(raw["name"]),
                    place,
                    billed=KINDS[text].billed,
                    group=group(network, place),
                    in_use=group(network, place) in used,
                    home=naming.home_of(raw),
                )
            )
        policies = await self._list("snapshot schedule")
        ours = [one for one in policies if self._is_ours(KINDS["snapshot schedule"], one[0])]
        used = await self._used_policies() if ours else frozenset()
        for raw, place in ours:
            name = str(raw["name"])
            found.append(
                Resource(
                    "snapshot schedule", name, place, billed=False, group=group(name, place),
                    in_use=f"{place}/{name}" in used, home=naming.home_of(raw),
                )
            )  # fmt: skip
        return found

    async def _used_grounds(self) -> frozenset[str]:
        """Return the networks, and their regions, with machines that this home did not make."""
        used = set()
        for raw, zone in await self._list("instance"):
            if self._is_ours(KINDS["instance"], raw) and naming.home_of(raw) == self._home_id:
                continue
            for interface in raw.get("networkInterfaces") or ():
                network = naming.last(str(interface.get("network") or ""))
                used |= {group(network), group(network, naming.region_of(zone))}
        return frozenset(used)

    async def _used_policies(self) -> frozenset[str]:
        """Return `region/name` of every policy that a disk has: a disk may outlive its worker's settings."""
        links = [
            str(link).split("/")
            for raw, _ in await self._list("disk")
            for link in raw.get("resourcePolicies") or ()
        ]
        return frozenset(f"{parts[-3]}/{parts[-1]}" for parts in links if len(parts) >= 3)

    async def find(self, resource: Resource) -> Json | None:
        """Return a resource as the API describes it, or None."""
        kind = KINDS[resource.kind]
        try:
            return await self._requests.api.call(
                kind.service, "get", f"Looking for the {resource}", **self._fields(kind, resource)
            )
        except NotFound:
            return None

    def _fields(self, kind: Kind, resource: Resource) -> dict[str, str]:
        place = {} if kind.scope == "global" else {kind.scope: resource.place}
        return {kind.field: resource.name, **place}

    async def remove(self, resource: Resource) -> None:
        """Ask for a resource to be deleted, unless it is not (or no longer) ours. Absent is success."""
        kind = KINDS[resource.kind]
        raw = await self.find(resource)
        if raw is None or not self._is_ours(kind, raw):
            return
        doing = f"Deleting the {resource}"
        target = f"{kind.service}/{resource.name}/{raw.get('id')}"
        history = await self._history(kind, resource)
        asked = self._requests.request_id(f"delete-{resource.place}", target, "", history)
        try:
            operation = await self._requests.api.call(
                kind.service, "delete", doing, **self._fields(kind, resource), request_id=asked
            )
        except NotFound:
            if await self.find(resource) is None:
                return
            raise
        self._requests.require_accepted(operation, doing)

    async def _history(self, kind: Kind, resource: Resource) -> Sequence[Json]:
        target = f"{kind.service}/{resource.name}"
        if kind.service == "resource_policies":
            target = f"resourcePolicies/{resource.name}"
        place = {} if kind.scope == "global" else {kind.scope: resource.place}
        return await self._requests.api.history(f"{kind.scope}_operations", target, **place)
