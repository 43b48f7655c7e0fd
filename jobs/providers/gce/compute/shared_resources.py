"""What machines stand on in a region: the network, and the schedule by which their disks are saved.

A disk has no deletion protection at Google. What guards the data disk: it is never deleted with its
machine, `delete_disk` alone deletes it, and snapshots by a schedule when the worker has `snapshot_days`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import NotFound
from jobs.providers.gce.compute import errors, naming
from jobs.providers.gce.compute.api import Json
from jobs.providers.gce.compute.inventory import group
from jobs.providers.gce.compute.network import IAP_RANGE, Network, check_source
from jobs.providers.gce.compute.requests import Requests
from jobs.providers.gce.compute.template import Settings, snapshot_policy

SNAPSHOT_HOUR = "04:00"  # UTC


def grounds(settings: Settings, snapshot_days: int) -> frozenset[str]:
    """Return the groups of shared resources that machines of a configuration need. Pure."""
    found = {group(settings.network)}
    for region in settings.all_regions:
        found.add(group(settings.network, region))
        if snapshot_days:
            found.add(group(snapshot_policy(snapshot_days), region))
    return frozenset(found)


def policy_body(settings: Settings, days: int) -> Json:
    """Return the body of a schedule: a snapshot each day, kept for `days`. Pure."""
    return {
        "name": snapshot_policy(days),
        "description": naming.description(settings.owner, settings.home_id),
        "snapshotSchedulePolicy": {
            "schedule": {"dailySchedule": {"daysInCycle": 1, "startTime": SNAPSHOT_HOUR}},
            # Snapshots end by themselves, also when their disk is gone: nothing is left to be swept.
            "retentionPolicy": {"maxRetentionDays": days, "onSourceDiskDelete": "APPLY_RETENTION_POLICY"},
            "snapshotProperties": {"labels": {naming.SCHEMA_LABEL: naming.SCHEMA}},
        },
    }


class Ground:
    """The ground of one zone's machines, asked for step by step."""

    def __init__(self, requests: Requests, config: Mapping[str, Any]) -> None:
        self._requests = requests
        self._days = int((config.get("spec") or {}).get("snapshot_days") or 0)
        world = bool(config.get("open_to_the_world"))
        source = check_source(str(config.get("source") or IAP_RANGE), world=world)
        self._network = Network(requests.api, requests.settings, source)

    async def next_step(self) -> str | None:
        """Ask for the next missing part and say which; None: all of it is there."""
        step = await self._network.ensure()
        if step is not None:
            return step.text
        return await self._schedule() if self._days else None

    async def _schedule(self) -> str | None:
        api, settings = self._requests.api, self._requests.settings
        name, place = snapshot_policy(self._days), {"region": settings.region}
        try:
            found = await api.call(
                "resource_policies", "get", f"Looking for the schedule {name}", resource_policy=name, **place
            )
            return None if found.get("status", "READY") == "READY" else f"The schedule {name} appears."
        except NotFound:
            pass
        doing = f"Making the snapshot schedule {name}"
        history = await api.history("region_operations", f"resourcePolicies/{name}", **place)
        asked = self._requests.request_id("insert", f"{settings.region}/{name}", "", history)
        body = policy_body(settings, self._days)
        try:
            operation = await api.call("resource_policies", "insert", doing, body, **place, request_id=asked)
        except errors.AlreadyThere:
            return f"The snapshot schedule {name} appears."
        self._requests.require_accepted(operation, doing)
        return f"{doing}."
