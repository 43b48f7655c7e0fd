"""The simulator as a lesser emulator of the API: machines and little else.

It has no networks, routers, rules, policies, images, disks of their own, addresses, operations to be listed,
lists over zones, filters, guest attributes, and ignores a requestId. Requests are carried out at
once. Its answers lack ids, times and links, or have them in forms of its own; so do its refusals.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any
from urllib.parse import urlsplit

from jobs.providers.gce.compute import api
from jobs.simulator.server import PREFIX, Simulator
from jobs.simulator.world import ApiError, Json

_OFFERED = re.compile(
    r"(GET|POST) .*/zones/[^/]+/instances|(GET|DELETE) .*/zones/[^/]+/instances/[^/]+"
    r"|POST .*/zones/[^/]+/instances/[^/]+/(start|stop|setMachineType)"
)
_ZONE = re.compile(r"/projects/[^/]+/zones/([^/]+)/.")
_KNOWN = re.compile(r"(?P<machine>/projects/[^/]+/zones/[^/]+/instances(?:/[^/]+)?)(?:/(?P<verb>\w+))?")
_LEFT_OUT = frozenset(
    {
        "creationTimestamp", "fingerprint", "id", "kind", "labelFingerprint", "lastStartTimestamp",
        "lastStopTimestamp", "resourceStatus", "selfLink", "zone",
    }
)  # fmt: skip
_WORDS = {"RUNNING": "Running", "TERMINATED": "STOPPED"}


class LeanSimulator(Simulator):
    """A Compute API that offers no more than it must."""

    def refusal(self, error: ApiError) -> Json | None:
        """Return the body that tells of an error: a word, and no more."""
        return {"error": str(error)}

    def answer(self, method: str, target: str, body: bytes) -> Json:
        """Return the answer to a request. Raises `ApiError`."""
        parts = urlsplit(target)
        if parts.path.startswith("/simulator/"):
            return super().answer(method, target, body)
        if _OFFERED.fullmatch(f"{method} {parts.path}") is None:
            raise ApiError(501 if method == "POST" else 404, "", "404 page not found")
        try:
            found = super().answer(method, parts.path, _without_networks(method, parts.path, body))
        finally:
            self.settle()
            self._forget_disks()
        if found.get("kind") == "compute#operation":
            number = str(uuid.uuid4())
            return {"id": number, "name": number, "status": "DONE", "selfLink": f"http://elsewhere/{number}"}
        return dict(_plain(found))

    def _forget_disks(self) -> None:
        with self.world.lock:
            for path, one in list(self.world.resources.items()):
                if "/disks/" in path and not one.get("users"):
                    del self.world.resources[path]
            self.world.operations.clear()
            self.world.keep()


def _without_networks(method: str, path: str, body: bytes) -> bytes:
    """Return the body of a request without the networks that it names: there are none here."""
    if method != "POST" or not path.endswith("/instances") or not body:
        return body
    wanted = json.loads(body)
    wanted["networkInterfaces"] = [{}]
    for disk in wanted.get("disks") or ():
        (disk.get("initializeParams") or {}).pop("resourcePolicies", None)
    return json.dumps(wanted).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _plain(one) for key, one in value.items() if key not in _LEFT_OUT}
    if "machineType" in kept:
        kept["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, str(kept.get("name"))))  # no number, as Google's are
    if "status" in kept:
        kept["status"] = _WORDS.get(str(kept["status"]), kept["status"])
    return kept


class OddSimulator(LeanSimulator):
    """A lesser emulator that knows no `/compute/v1/` and routes by parts of the path, as some do.

    What is asked for below a zone that it does not know is answered with the zone, below a machine with the
    machine; what was accepted is answered with the machine, not with an operation. Refusals are HTML.
    """

    @property
    def overrides(self) -> dict[str, str]:
        """The environment variables that send us here: gcloud's way, without the API's path."""
        return {**super().overrides, api.ENDPOINT_VARIABLE: f"{self.url}/"}

    def refusal(self, error: ApiError) -> None:
        """A page, for every error."""

    def answer(self, method: str, target: str, body: bytes) -> Json:
        """Return the answer to a request. Raises `ApiError`."""
        path = urlsplit(target).path
        if path.startswith("/simulator/"):
            return super().answer(method, target, body)
        if not path.startswith("/projects/"):
            raise ApiError(404, "", "404 page not found")
        found = _KNOWN.fullmatch(path)
        if found is None and method == "GET" and (place := _ZONE.match(path)):
            return {"kind": "compute#zone", "name": place[1]}
        if method == "GET" and found and found["verb"]:
            path = found["machine"]
        answer = super().answer(method, PREFIX + path[1:], body)
        if method != "POST" or found is None:
            return answer
        machine = found["machine"] if found["verb"] else f"{path}/{json.loads(body)['name']}"
        return super().answer("GET", PREFIX + machine[1:], b"")
