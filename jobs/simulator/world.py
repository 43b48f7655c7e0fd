"""The simulated project: resources, operations that take time, and a file that outlives the process."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

from jobs.providers.gce.compute import naming
from jobs.simulator import catalog

Json = dict[str, Any]
Effect = Callable[["World", str, Json], None]
PACIFIC = timezone(timedelta(hours=-8))  # the API's own clock
ROOT = "https://www.googleapis.com/compute/v1/"
_LABELLED = ("address", "disk", "instance")


class ApiError(Exception):
    """A refusal with the HTTP status, the reason and the message that the real API has."""

    def __init__(self, status: int, reason: str, message: str, form: Json | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self._form = form

    def body(self) -> Json:
        """Return the answer's body: of Google's form, unless another was given."""
        if self._form is not None:
            return self._form
        one = {"message": str(self), "domain": "global", "reason": self.reason}
        return {"error": {"code": self.status, "message": str(self), "errors": [one]}}


def outdated(what: str) -> ApiError:
    """Return the refusal of a change of something that has changed since it was read."""
    return ApiError(
        412, "conditionNotMet", f"Supplied fingerprint does not match current {what} fingerprint."
    )


def not_found(path: str) -> ApiError:
    """Return the refusal for what does not exist."""
    return ApiError(404, "notFound", f"The resource '{path}' was not found")


def invalid(field: str, value: object, why: str) -> ApiError:
    """Return the refusal for a field's value."""
    return ApiError(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def now(later: float = 0.0) -> str:
    """Return a time as the API writes it, `later` seconds from now."""
    return (datetime.now(PACIFIC) + timedelta(seconds=later)).isoformat(timespec="microseconds")


class World:
    """Everything, by path (`projects/p/zones/z/instances/i`). Hold `lock` while reading or changing."""

    def __init__(self, path: Path | None = None, seconds: float = 0.0) -> None:
        self.lock = threading.RLock()
        self.seconds = seconds
        self._path = path
        self.effects: dict[str, Effect] = {}
        self.resources: dict[str, Json] = {}
        self.operations: dict[str, Json] = {}
        self.pending: dict[str, Json] = {}
        self.requests: dict[str, str] = {}
        self.guests: dict[str, dict[str, dict[str, str]]] = {}
        self.consoles: dict[str, str] = {}
        self.limits: dict[str, float] = dict(catalog.LIMITS)
        self.exhausted: list[str] = []
        self.counter = 1000
        self.account: Json = {}
        if path is not None and path.exists():
            for name, value in json.loads(path.read_text()).items():
                setattr(self, name, value)

    def keep(self) -> None:
        """Write the state, whole or not at all."""
        if self._path is None:
            return
        names = ("resources", "operations", "pending", "requests", "guests", "consoles", "limits")
        state = {name: getattr(self, name) for name in (*names, "exhausted", "counter", "account")}
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(state))
        os.replace(temporary, self._path)

    def number(self) -> int:
        """Return a number that was not used before."""
        self.counter += 1
        return self.counter

    def add(self, kind: str, path: str, body: Json) -> Json:
        """Keep a new resource with the fields that the server gives. Raises `ApiError` when it is there."""
        if path in self.resources:
            raise ApiError(409, "alreadyExists", f"The resource '{path}' already exists")
        scope = path.split("/")[2:-2]
        made = {
            **body,
            "kind": f"compute#{kind}",
            "id": str(self.number()),
            "creationTimestamp": now(),
            "selfLink": ROOT + path,
        }
        if kind in _LABELLED:
            made["labelFingerprint"] = self.fingerprint()
        if kind in ("instance", "subnetwork"):
            made["fingerprint"] = self.fingerprint()
        if len(scope) == 2:
            made[scope[0].rstrip("s")] = ROOT + "/".join(path.split("/")[:4])
        self.resources[path] = made
        return made

    def fingerprint(self) -> str:
        """Return a new fingerprint: base64, as every byte field of Google's; gcloud reads nothing else."""
        return base64.b64encode(b"%06d" % self.number()).decode()

    def set_labels(self, one: Json, body: Json) -> None:
        """Replace the labels of a resource. Raises `ApiError` when they changed since they were read."""
        if body.get("labelFingerprint") != one.get("labelFingerprint"):
            raise outdated("labels")
        one["labels"], one["labelFingerprint"] = body.get("labels") or {}, self.fingerprint()

    def find(self, path: str) -> Json:
        """Return a resource. Raises `ApiError`."""
        if path not in self.resources:
            raise not_found(path)
        return self.resources[path]

    def operation(
        self, verb: str, target: str, effect: str = "", *, error: tuple[str, str] | None = None
    ) -> Json:
        """Accept something: an operation that ends after `seconds`, and then has its effect (or error)."""
        number = self.number()
        parts = target.split("/")
        scope = "/".join(parts[: 3 if parts[2] == "global" else 4])
        path = f"{scope}/operations/operation-{number}"
        made: Json = {
            "kind": "compute#operation",
            "id": str(number),
            "name": f"operation-{number}",
            "operationType": verb,
            "targetLink": ROOT + target,
            "targetId": str(self.resources.get(target, {}).get("id", "0")),
            "status": "RUNNING",
            "progress": 0,
            "user": "maintainer@example.com",
            "insertTime": now(),
            "startTime": now(),
            "selfLink": ROOT + path,
        }
        if parts[2] != "global":
            made[parts[2].rstrip("s")] = ROOT + scope
        self.operations[path] = made
        self.pending[path] = {"due": time.time() + self.seconds, "effect": effect, "target": target}
        if error:
            self.pending[path]["error"] = list(error)
        return made

    def advance(self, *, all_of_it: bool = False) -> None:
        """Let the operations end whose time has come, and stop what has run too long."""
        for path, work in list(self.pending.items()):
            if all_of_it or work["due"] <= time.time():
                self._finish(path, work)
        for path, one in list(self.resources.items()):
            end = (one.get("resourceStatus") or {}).get("scheduling", {}).get("terminationTimestamp")
            if end and one.get("status") == "RUNNING" and end <= now():
                self.happen("stop", path, "halt")

    def happen(self, verb: str, target: str, effect: str) -> None:
        """Change a resource without a request, at once, with an operation that reports it."""
        operation = self.operation(verb, target, effect)
        path = cast("str", operation["selfLink"]).removeprefix(ROOT)
        self._finish(path, self.pending[path])

    def _finish(self, path: str, work: Json) -> None:
        del self.pending[path]
        operation = self.operations.get(path, {})
        operation.update(status="DONE", progress=100, endTime=now())
        if work.get("error"):
            code, message = work["error"]
            operation["error"] = {"errors": [{"code": code, "message": message}]}
            operation["httpErrorStatusCode"] = 503
            operation["httpErrorMessage"] = "SERVICE UNAVAILABLE"
        if work["effect"] and work["target"] in self.resources:
            self.effects[work["effect"]](self, work["target"], operation)

    def cpus_used(self, region: str, series: str = "") -> float:
        """Return the vCPUs of the machines in a region that are not stopped."""
        total = 0.0
        for path, one in self.resources.items():
            kind = naming.last(str(one.get("machineType", "")))
            if "/instances/" not in path or f"/zones/{region}-" not in path:
                continue
            if one.get("status") != "TERMINATED" and kind.startswith(series):
                total += catalog.MACHINE_TYPES.get(kind, (0, 0.0))[0]
        return total
