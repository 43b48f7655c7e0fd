"""Everything simulated that is not a machine: disks, networks, rules, addresses; and lists of it all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jobs.providers.gce.compute import naming
from jobs.simulator import catalog
from jobs.simulator.world import ROOT, ApiError, Json, World, invalid, not_found

# Collection -> kind, and the API's type of its body.
KINDS: Mapping[str, tuple[str, str]] = {
    "addresses": ("address", "Address"),
    "disks": ("disk", "Disk"),
    "firewalls": ("firewall", "Firewall"),
    "instances": ("instance", "Instance"),
    "networks": ("network", "Network"),
    "resourcePolicies": ("resourcePolicy", "ResourcePolicy"),
    "routers": ("router", "Router"),
    "subnetworks": ("subnetwork", "Subnetwork"),
}
VERBS: Mapping[tuple[str, str], str] = {
    ("addresses", "setLabels"): "RegionSetLabelsRequest",
    ("disks", "resize"): "DisksResizeRequest",
    ("disks", "setLabels"): "ZoneSetLabelsRequest",
    ("instances", "setLabels"): "InstancesSetLabelsRequest",
    ("instances", "setMachineType"): "InstancesSetMachineTypeRequest",
    ("instances", "setMetadata"): "Metadata",
    ("instances", "setScheduling"): "Scheduling",
    ("instances", "setTags"): "Tags",
}


def insert(world: World, scope: str, collection: str, body: Json) -> Json:
    """Accept a new resource."""
    path = f"{scope}/{collection}/{body['name']}"
    if body.get("network"):
        _require_ready(world, str(body["network"]))
    if collection == "disks" and naming.last(str(body.get("type", "pd-standard"))) not in catalog.DISK_TYPES:
        raise invalid("resource.type", body.get("type"), "The referenced resource does not exist.")
    world.add(KINDS[collection][0], path, {**body, "status": "CREATING"} if collection == "disks" else body)
    return world.operation("insert", path, "ready" if collection == "disks" else "")


def _require_ready(world: World, link: str) -> None:
    path = link.partition("/compute/v1/")[2] or link
    world.find(path)
    if any(work["target"] == path for work in world.pending.values()):
        raise ApiError(400, "resourceNotReady", f"The resource '{path}' is not ready")


def delete(world: World, path: str) -> Json:
    """Accept the end of a resource that is not in use."""
    one = world.find(path)
    users = one.get("users") or [
        other["selfLink"]
        for other in world.resources.values()
        if any(str(link).endswith(path) for link in _links(other))
    ]
    if users:
        raise ApiError(
            400,
            "resourceInUseByAnotherResource",
            f"The resource '{path}' is already being used by '{users[0]}'",
        )
    return world.operation("delete", path, "vanish")


def _links(one: Mapping[str, Any]) -> list[str]:
    interfaces = [inner for part in one.get("networkInterfaces") or () for inner in part.values()]
    policies = one.get("resourcePolicies") or ()
    return [str(one.get("network", "")), *(str(link) for link in (*interfaces, *policies))]


def act(world: World, path: str, verb: str, body: Json) -> Json:
    """Accept a POST to a resource."""
    one = world.find(path)
    if verb == "resize":
        if int(body.get("sizeGb", 0)) <= int(one.get("sizeGb", 0)):
            raise invalid("sizeGb", body.get("sizeGb"), "The new size must be larger.")
        one["sizeGb"] = str(body["sizeGb"])
    elif verb == "setLabels":
        world.set_labels(one, body)
    else:
        raise not_found(f"{path}/{verb}")
    return world.operation(verb, path)


def read_only(world: World, project: str, rest: str) -> Json | None:
    """Return what no request changes: the project, zones, regions, machine types, images."""
    parts = rest.split("/") if rest else []
    root = f"projects/{project}"
    match parts:
        case []:
            used = sum(world.cpus_used(region) for region in catalog.ZONES)
            quota = {"metric": catalog.GLOBAL, "limit": world.limits.get(catalog.GLOBAL, 0.0), "usage": used}
            return {
                "kind": "compute#project", "name": project, "id": "1", "quotas": [quota],
                "selfLink": ROOT + root,
            }  # fmt: skip
        case ["zones"]:
            return {"items": [_zone(root, zone) for zone in catalog.ALL_ZONES]}
        case ["regions"]:
            return {"items": [_region(world, root, region) for region in catalog.ZONES]}
        case ["zones", zone] if zone in catalog.ALL_ZONES:
            return _zone(root, zone)
        case ["regions", region] if region in catalog.ZONES:
            return _region(world, root, region)
        case ["zones", zone, "machineTypes"]:
            return {"items": [_machine_type(root, zone, name) for name in catalog.MACHINE_TYPES]}
        case ["zones", zone, "machineTypes", name] if name in catalog.MACHINE_TYPES:
            return _machine_type(root, zone, name)
        case ["global", "images", "family", family] if family in catalog.IMAGES:
            name = catalog.IMAGES[family]
            return {"name": name, "family": family, "selfLink": f"{ROOT}{root}/global/images/{name}"}
    return None


def _zone(root: str, zone: str) -> Json:
    region = f"{ROOT}{root}/regions/{naming.region_of(zone)}"
    return {"kind": "compute#zone", "name": zone, "status": "UP", "region": region}


def _region(world: World, root: str, region: str) -> Json:
    usage = {"CPUS": world.cpus_used(region), "N2_CPUS": world.cpus_used(region, "n2-")}
    quotas = [
        {"metric": name, "limit": limit, "usage": usage.get(name, 0.0)}
        for name, limit in world.limits.items()
        if name != catalog.GLOBAL
    ]
    zones = [f"{ROOT}{root}/zones/{zone}" for zone in catalog.ZONES[region]]
    return {"kind": "compute#region", "name": region, "status": "UP", "quotas": quotas, "zones": zones}


def _machine_type(root: str, zone: str, name: str) -> Json:
    cpus, memory = catalog.MACHINE_TYPES[name]
    return {"name": name, "guestCpus": cpus, "memoryMb": int(memory * 1024), "zone": zone}


def matches(one: Mapping[str, Any], text: str) -> bool:
    """Return whether a resource passes a list's filter: `a.b=c`, `a.b!=c`, `a.b eq regex`, joined by AND."""
    for term in re.split(r"\s+AND\s+", text.strip("() ")) if text else ():
        found = re.fullmatch(r"\(?([\w.-]+)\s*(!=|=|:|\seq\s|\sne\s)\s*\"?(.*?)\"?\)?", term.strip())
        if found is None:
            raise ApiError(400, "invalid", f"Invalid value for field 'filter': '{text}'.")
        value: Any = one
        for part in found[1].split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        sign, said = found[2].strip(), "" if value is None else str(value)
        equal = re.fullmatch(found[3], said) is not None if sign in ("eq", "ne") else said == found[3]
        if equal == (sign in ("ne", "!=")):
            return False
    return True
