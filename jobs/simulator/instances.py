"""What the simulated machines do."""

from __future__ import annotations

from typing import Any

from jobs.providers.gce.compute import naming
from jobs.providers.gce.compute.template import takes_disk
from jobs.simulator import catalog
from jobs.simulator.machines import Machines
from jobs.simulator.world import ROOT, ApiError, Json, World, invalid, not_found, now, outdated

EXHAUSTED = (
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "The zone '{zone}' does not have enough resources available to fulfill the request. "
    "Try a different zone, or try again later.",
)
DATA = naming.data_disk("")
UP = ("PROVISIONING", "STAGING", "RUNNING")


def _local(link: str) -> str:
    """Return the path in a full or partial link."""
    return link.partition("/compute/v1/")[2] or link


def insert(world: World, scope: str, body: Json, *, exhausted: bool) -> Json:
    """Accept a new machine and the disks in its body."""
    project, zone = scope.split("/")[1], scope.split("/")[3]
    path = f"{scope}/instances/{body['name']}"
    if path in world.resources:
        raise ApiError(409, "alreadyExists", f"The resource '{path}' already exists")
    kind = naming.last(str(body.get("machineType", "")))
    if kind not in catalog.MACHINE_TYPES:
        raise invalid(
            "resource.machineType", body.get("machineType"), "The referenced resource does not exist."
        )
    for interface in body.get("networkInterfaces") or []:
        for field in ("network", "subnetwork"):
            if interface.get(field):
                world.find(_local(interface[field]))
    _require_quota(world, zone, kind)
    disks = [_check_disk(world, scope, project, body, kind, one) for one in body.get("disks") or []]
    if not any(one.get("boot") for one in body.get("disks") or []):
        raise invalid("resource.disks", "", "A boot disk is needed.")
    made = world.add("instance", path, {**body, "status": "PROVISIONING"})
    made["disks"] = []
    created = []
    for index, (given, disk_path, new) in enumerate(disks):
        if new:
            world.add("disk", disk_path, new)
            created.append(disk_path)
        world.resources[disk_path]["users"] = [ROOT + path]
        attached = {key: value for key, value in given.items() if key != "initializeParams"}
        made["disks"].append({**attached, "source": ROOT + disk_path, "index": index, "type": "PERSISTENT"})
    made["machineType"] = f"{ROOT}{scope}/machineTypes/{kind}"
    for part in ("metadata", "tags"):
        made[part] = {**(body.get(part) or {}), "fingerprint": world.fingerprint()}
    for interface in made.get("networkInterfaces") or []:
        interface["networkIP"] = f"10.170.{world.number() // 250 % 16}.{world.counter % 250 + 2}"
    if exhausted or zone in world.exhausted:
        made["_created"] = created
        code, message = EXHAUSTED
        return world.operation("insert", path, "fail", error=(code, message.format(zone=zone)))
    return world.operation("insert", path, "run")


def _require_quota(world: World, zone: str, kind: str) -> None:
    region, cpus = naming.region_of(zone), catalog.MACHINE_TYPES[kind][0]
    series = kind.partition("-")[0]
    most = world.limits.get(catalog.GLOBAL)
    if most is not None and sum(world.cpus_used(one) for one in catalog.ZONES) + cpus > most:
        raise ApiError(403, "quotaExceeded", f"Quota '{catalog.GLOBAL}' exceeded.  Limit: {most} globally.")
    for metric, of in (("CPUS", ""), (f"{series.upper()}_CPUS", f"{series}-")):
        limit = world.limits.get(metric)
        if limit is not None and world.cpus_used(region, of) + cpus > limit:
            raise ApiError(
                403, "quotaExceeded", f"Quota '{metric}' exceeded.  Limit: {limit} in region {region}."
            )


def _check_disk(
    world: World, scope: str, project: str, body: Json, kind: str, given: Json
) -> tuple[Json, str, Json | None]:
    """Return what was given, the disk's path, and the new disk (None: it exists)."""
    if given.get("source"):
        path = _local(str(given["source"]))
        disk = world.find(path)
        if disk.get("users"):
            raise ApiError(
                400,
                "resourceInUseByAnotherResource",
                f"The disk resource '{path}' is already being used by '{disk['users'][0]}'",
            )
        if disk.get("status") != "READY":
            raise ApiError(400, "resourceNotReady", f"The resource '{path}' is not ready")
        _require_disk_type(kind, disk.get("type"))
        return given, path, None
    wanted: Json = given.get("initializeParams") or {}
    path = f"{scope}/disks/{wanted.get('diskName') or body['name']}"
    if path in world.resources:
        raise ApiError(409, "alreadyExists", f"The resource '{path}' already exists")
    disk_type = _require_disk_type(kind, wanted.get("diskType"))
    image = str(wanted.get("sourceImage", ""))
    if image and naming.last(image) not in (*catalog.IMAGES, *catalog.IMAGES.values()):
        raise not_found(_local(image))
    policies = wanted.get("resourcePolicies") or []
    for link in policies:
        world.find(_local(str(link)))
    new = {
        "name": naming.last(path),
        "sizeGb": str(wanted.get("diskSizeGb", "10")),
        "type": f"{ROOT}{scope}/diskTypes/{disk_type}",
        "labels": wanted.get("labels") or {},
        **({"sourceImage": f"{ROOT}{_local(image)}"} if image else {}),
        "status": "READY",
        **({"resourcePolicies": [f"{ROOT}{_local(str(link))}" for link in policies]} if policies else {}),
    }
    return given, path, new


def _require_disk_type(kind: str, link: Any) -> str:
    disk_type = naming.last(str(link or "pd-standard"))
    if disk_type not in catalog.DISK_TYPES or not takes_disk(kind, disk_type):
        raise invalid(
            "resource.disks", disk_type, f"{disk_type} disk type cannot be used by {kind} machine type."
        )
    return disk_type


def act(world: World, path: str, verb: str, body: Json, *, exhausted: bool) -> Json:
    """Accept a POST to a machine: `start`, `stop`, `setLabels` and so on."""
    one = world.find(path)
    status, zone = one["status"], path.split("/")[3]
    if verb in ("start", "resume"):
        if status in UP:
            return world.operation("start", path)
        if status not in ("TERMINATED", "SUSPENDED"):
            raise ApiError(400, "resourceNotReady", f"The resource '{path}' is not ready")
        _require_quota(world, zone, naming.last(one["machineType"]))
        one["status"] = "STAGING"
        if exhausted or zone in world.exhausted:
            code, message = EXHAUSTED
            return world.operation("start", path, "halt", error=(code, message.format(zone=zone)))
        return world.operation("start", path, "run")
    if verb == "stop":
        if status != "TERMINATED":
            one["status"] = "STOPPING"
        return world.operation("stop", path, "halt")
    if verb == "setMachineType":
        if status != "TERMINATED":
            raise ApiError(400, "invalid", "The instance must be stopped to change its machine type.")
        kind = naming.last(str(body.get("machineType", "")))
        if kind not in catalog.MACHINE_TYPES:
            raise invalid("machineType", body.get("machineType"), "The referenced resource does not exist.")
        for attached in one["disks"]:
            _require_disk_type(kind, world.find(_local(attached["source"])).get("type"))
        one["machineType"] = f"{ROOT}{'/'.join(path.split('/')[:4])}/machineTypes/{kind}"
    elif verb in ("setMetadata", "setTags"):
        part = verb.removeprefix("set").lower()
        if body.get("fingerprint") != one[part].get("fingerprint"):
            raise outdated(part)
        one[part] = {**body, "fingerprint": world.fingerprint()}
    elif verb == "setLabels":
        world.set_labels(one, body)
    elif verb == "setScheduling":
        one["scheduling"] = body
    else:
        raise not_found(f"{path}/{verb}")
    return world.operation(verb, path)


def delete(world: World, path: str) -> Json:
    """Accept the end of a machine."""
    one = world.find(path)
    if one.get("deletionProtection"):
        raise ApiError(400, "invalid", f"Resource cannot be deleted if it's protected: '{path}'")
    one["status"] = "STOPPING"
    return world.operation("delete", path, "gone")


def _metadata(one: Json) -> dict[str, str]:
    items = (one.get("metadata") or {}).get("items") or []
    return {item["key"]: item.get("value", "") for item in items}


def revive(world: World, machines: Machines | None) -> None:
    """Have a real server behind each machine that runs."""
    for path, one in world.resources.items():
        if machines is not None and "/instances/" in path and one.get("status") == "RUNNING":
            world.guests.setdefault(path, {})["hostkeys"] = machines.start(one["name"], _metadata(one))


def effects(machines: Machines | None) -> dict[str, Any]:
    """Return what an operation's end does to a machine, with real servers behind it if there are any."""

    def run(world: World, path: str, operation: Json) -> None:
        one = world.find(path)
        one.update(status="RUNNING", lastStartTimestamp=now())
        seconds = ((one.get("scheduling") or {}).get("maxRunDuration") or {}).get("seconds")
        if seconds:
            one["resourceStatus"] = {"scheduling": {"terminationTimestamp": now(float(seconds))}}
        for interface in one.get("networkInterfaces") or []:
            for access in interface.get("accessConfigs") or []:  # another one after each start
                access["natIP"] = f"203.0.113.{world.number() % 250 + 1}"
        if machines is not None:
            world.guests.setdefault(path, {})["hostkeys"] = machines.start(one["name"], _metadata(one))
        world.consoles[path] = world.consoles.get(path, "") + f"{now()} {one['name']} boots\n"

    def halt(world: World, path: str, operation: Json) -> None:
        one = world.find(path)
        one.update(status="TERMINATED", lastStopTimestamp=now())
        one.pop("resourceStatus", None)
        for interface in one.get("networkInterfaces") or []:
            for access in interface.get("accessConfigs") or []:
                access.pop("natIP", None)
        world.guests.pop(path, None)
        if machines is not None:
            machines.stop(one["name"])

    def gone(world: World, path: str, operation: Json) -> None:
        one = world.resources.pop(path)
        for attached in one["disks"]:
            disk_path = _local(attached["source"])
            if attached.get("autoDelete"):
                world.resources.pop(disk_path, None)
            elif disk_path in world.resources:
                world.resources[disk_path].pop("users", None)
                world.resources[disk_path]["lastDetachTimestamp"] = now()
        world.guests.pop(path, None)
        world.consoles.pop(path, None)
        if machines is not None:
            machines.delete(one["name"])

    def fail(world: World, path: str, operation: Json) -> None:
        created = world.find(path).get("_created") or []
        gone(world, path, operation)
        for disk_path in created:
            world.resources.pop(disk_path, None)

    def vanish(world: World, path: str, operation: Json) -> None:
        world.resources.pop(path, None)
        name = naming.last(path)
        if machines is not None and "/disks/" in path and name.endswith(DATA):
            machines.wipe(name.removesuffix(DATA))

    def ready(world: World, path: str, operation: Json) -> None:
        world.find(path)["status"] = "READY"

    return {"run": run, "halt": halt, "gone": gone, "fail": fail, "vanish": vanish, "ready": ready}
