"""What the API says of a machine, as we see it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jobs.errors import OffloadError
from jobs.providers.base import Instance, InstanceState
from jobs.providers.gce.compute import errors, naming

# https://cloud.google.com/compute/docs/instances/instance-lifecycle
STATES: Mapping[str, InstanceState] = {
    "PENDING": InstanceState.CREATING,
    "PROVISIONING": InstanceState.CREATING,
    "STAGING": InstanceState.CREATING,
    "REPAIRING": InstanceState.CREATING,
    "RUNNING": InstanceState.RUNNING,
    "PENDING_STOP": InstanceState.STOPPING,
    "STOPPING": InstanceState.STOPPING,
    "SUSPENDING": InstanceState.STOPPING,
    "DEPROVISIONING": InstanceState.DELETING,
    "SUSPENDED": InstanceState.STOPPED,
    "STOPPED": InstanceState.STOPPED,
    "TERMINATED": InstanceState.STOPPED,
}
DOWN = (InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.DELETING)
# Operation type -> why a machine is down, and the sentence for it.
WHY_DOWN: Mapping[str, tuple[str, str]] = {
    "stop": ("stopped", "It was stopped on request."),
    "compute.instances.preempted": ("preempted", "Google took the spot machine back."),
    "compute.instances.guestTerminate": ("guest", "It shut itself down."),
    "compute.instances.hostError": ("host_error", "Its host failed."),
    "compute.instances.terminateOnHostMaintenance": ("maintenance", "Its host went into maintenance."),
}


def state_of(raw: Mapping[str, Any]) -> InstanceState:
    """Return a machine's state; an unknown word is a change that is under way."""
    return STATES.get(str(raw.get("status")), InstanceState.CREATING)


def view(raw: Mapping[str, Any], operations: Sequence[Mapping[str, Any]] = ()) -> Instance:
    """Return a machine. `operations` on it, newest first, tell deleting from stopping, and why it is down.

    `data`: `id zone machine_type internal_ip external_ip spot created last_start last_stop deadline labels
    home_id disks service_account`, and of a machine that is down `because` (of `WHY_DOWN`, `deadline`, the
    operation's own type, or empty) and `last_error` ({code, message} or None). Times are RFC 3339.
    """
    status = str(raw.get("status") or "nothing of its state")
    state = state_of(raw)
    if state in DOWN and any(
        one.get("operationType") == "delete" and one.get("status") != "DONE" for one in operations
    ):
        state = InstanceState.DELETING
    because, sentence = "", ""
    downs = [one for one in operations if str(one.get("operationType")) not in ("insert", "start", "delete")]
    if state in (InstanceState.STOPPING, InstanceState.STOPPED) and downs:
        kind = str(downs[0].get("operationType"))
        because, sentence = WHY_DOWN.get(kind, (kind, str(downs[0].get("statusMessage", ""))))
    if state is InstanceState.STOPPED and _ran_out(raw):
        because, sentence = "deadline", "Its run time was used up."
    error = first_error(operations[0]) if operations else None
    interfaces = raw.get("networkInterfaces") or [{}]
    access = (interfaces[0].get("accessConfigs") or [{}])[0]
    scheduling = raw.get("scheduling") or {}
    accounts = raw.get("serviceAccounts") or [{}]
    disks = [naming.last(str(one.get("source") or "")) for one in raw.get("disks") or ()]
    status_of = (raw.get("resourceStatus") or {}).get("scheduling") or {}
    data = {
        "id": str(raw.get("id") or ""),
        "zone": naming.last(str(raw.get("zone") or "")),
        "machine_type": naming.last(str(raw.get("machineType") or "")),
        "internal_ip": interfaces[0].get("networkIP", ""),
        "external_ip": access.get("natIP", ""),
        "spot": scheduling.get("provisioningModel") == "SPOT" or bool(scheduling.get("preemptible")),
        "created": raw.get("creationTimestamp", ""),
        "last_start": raw.get("lastStartTimestamp", ""),
        "last_stop": raw.get("lastStopTimestamp", ""),
        "deadline": status_of.get("terminationTimestamp", ""),
        "home_id": naming.home_of(raw),
        "labels": dict(raw.get("labels") or {}),
        "disks": [one for one in disks if one],
        "service_account": accounts[0].get("email", ""),
        "because": because,
        "last_error": {"code": error[0], "message": error[1]} if error else None,
    }
    detail = sentence or str(raw.get("statusMessage", "")) or f"Google says {status}."
    return Instance(str(raw["name"]), state, detail, data)


def when(text: str) -> float:
    """Return a time of the API (RFC 3339, of any offset) as seconds since 1970; 0 for none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _ran_out(raw: Mapping[str, Any]) -> bool:
    """Return whether a stopped machine had run for as long as it may."""
    seconds = ((raw.get("scheduling") or {}).get("maxRunDuration") or {}).get("seconds")
    start, stop = when(str(raw.get("lastStartTimestamp", ""))), when(str(raw.get("lastStopTimestamp", "")))
    return bool(start) and stop - start >= float(seconds or "inf")


def first_error(operation: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return code and message of an operation's first error, or None."""
    error = operation.get("error") or {}
    if not isinstance(error, Mapping):
        return "", str(error)
    errors = error.get("errors") or []
    if not errors:
        return None
    return str(errors[0].get("code", "")), str(errors[0].get("message", ""))


def error_of(operation: Mapping[str, Any], name: str, project: str, zone: str) -> OffloadError | None:
    """Return the error that an operation on the machine `name` ended in, or None."""
    error = first_error(operation)
    if error is None:
        return None
    doing = {"insert": "Making", "start": "Starting", "stop": "Stopping", "delete": "Deleting"}
    verb = doing.get(str(operation.get("operationType")), "Changing")
    return errors.ended_badly(f"{verb} the machine {name} in {zone}", project, zone, *error)
