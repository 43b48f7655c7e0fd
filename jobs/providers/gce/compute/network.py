"""The network under the machines: found, or made step by step. A sweep takes it away (`inventory`).

Nothing here waits. `ensure` asks for the next missing step and says what it is; the caller calls again until
it returns None. Each step can be asked for twice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import NotFound, Refused, UsageError
from jobs.providers.gce.compute import errors, machine_state, naming
from jobs.providers.gce.compute.api import Api, Json
from jobs.providers.gce.compute.template import Settings

IAP_RANGE = "35.235.240.0/20"  # https://cloud.google.com/iap/docs/using-tcp-forwarding#create-firewall-rule
SUBNET_RANGE = "10.170.0.0/20"


@dataclass(frozen=True)
class Step:
    """What is under way: `text` for people, `asked` False when it only waits for an earlier request."""

    text: str
    asked: bool = True


def check_source(cidr: str, *, world: bool = False) -> str:
    """Return the range that may use ssh. Raises `UsageError`, and `Refused` for everybody unless `world`."""
    try:
        found = ipaddress.ip_network(cidr, strict=False)
    except ValueError as error:
        raise UsageError(f"{cidr!r} is no range of addresses ({error}).", hint=f"{IAP_RANGE} is.") from error
    if found.prefixlen == 0 and not world:
        raise Refused(
            f"The range {cidr} lets the whole internet try ssh on your machines.",
            hint="Name your own range, or leave it out: then only the identity-aware proxy gets in. "
            "`--open-to-the-world` insists.",
        )
    return str(found)


class Network:
    """The network of one configuration. `source`: who may use ssh (a CIDR), see `check_source`."""

    def __init__(self, api: Api, settings: Settings, source: str = IAP_RANGE) -> None:
        self._api = api
        self._settings = settings
        self._source = source
        self.firewall = f"{settings.network}-offload-ssh"[:63]

    def _parts(self) -> list[tuple[str, str, str, dict[str, str], Json]]:
        """Return service, field, name, scope and body of each part, in the order of making."""
        settings = self._settings
        ours = naming.description(settings.owner, settings.home_id)
        region = {"region": settings.region}
        network = settings.network_link
        firewall: Json = {
            "name": self.firewall,
            "description": ours,
            "network": network,
            "direction": "INGRESS",
            "priority": 1000,
            "sourceRanges": [self._source],
            "targetTags": [naming.TAG],
            "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}],
        }
        rule: tuple[str, str, str, dict[str, str], Json] = (
            "firewalls",
            "firewall",
            self.firewall,
            {},
            firewall,
        )
        if not settings.own_network:
            return [rule]
        made: Json = {
            "name": naming.NETWORK,
            "description": ours,
            "autoCreateSubnetworks": False,
            "routingConfig": {"routingMode": "REGIONAL"},
        }
        subnetwork: Json = {
            "name": naming.NETWORK,
            "description": ours,
            "network": network,
            "ipCidrRange": SUBNET_RANGE,
            "privateIpGoogleAccess": True,
        }
        router: Json = {
            "name": f"{naming.NETWORK}-router",
            "description": ours,
            "network": network,
            "nats": [
                {
                    "name": f"{naming.NETWORK}-nat",
                    "natIpAllocateOption": "AUTO_ONLY",
                    "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
                }
            ],
        }
        return [
            ("networks", "network", naming.NETWORK, {}, made),
            ("subnetworks", "subnetwork", naming.NETWORK, region, subnetwork),
            ("routers", "router", f"{naming.NETWORK}-router", region, router),
            rule,
        ]

    async def ensure(self) -> Step | None:
        """Ask for the next part that is missing. None: all of it is there.

        Raises `NotFound` when a network of the user's does not exist, `UsageError` when a rule of our name
        says something else.
        """
        if not self._settings.own_network:
            name = self._settings.network
            await self._api.call("networks", "get", f"Looking for the network {name}", network=name)
        for service, field, name, scope, body in self._parts():
            found = await self._find(service, field, name, scope)
            if found is not None:
                self._require_same(service, name, body, found)
                continue
            doing = f"Making the {field} {name}"
            try:
                asked = await self._id("insert", service, name, "")
                operation = await self._api.call(service, "insert", doing, body, **scope, request_id=asked)
            except errors.AlreadyThere:
                return Step(f"The {field} {name} appears.", asked=False)
            except errors.NotReady:
                return Step(f"The {field} {name} waits for what it stands on.", asked=False)
            except UsageError as error:
                if "not ready" in error.message:
                    return Step(f"The {field} {name} waits for what it stands on.", asked=False)
                raise
            self._accepted(operation, doing)
            return Step(f"{doing}.")
        return None

    async def _find(self, service: str, field: str, name: str, scope: Mapping[str, str]) -> Json | None:
        try:
            return await self._api.call(
                service, "get", f"Looking for the {field} {name}", **{field: name}, **scope
            )
        except NotFound:
            return None

    def _require_same(self, service: str, name: str, body: Json, found: Json) -> None:
        if (
            service == "firewalls"
            and "sourceRanges" in found
            and list(found.get("sourceRanges") or ()) != body["sourceRanges"]
        ):
            ranges = ", ".join(found.get("sourceRanges") or ["no address"])
            text = f"The firewall rule {name} lets in {ranges}, and {self._source} was asked for."
            whose = naming.made_for(found)
            if whose != naming.label(self._settings.owner):
                made = "It is not Offload's"
                if whose is not None:
                    made = f"Offload made it for {whose or 'nobody by name'}"
                raise UsageError(
                    f"{text} {made}.",
                    hint=f"Leave it as it is: take another --network, or the same --source {ranges}.",
                )
            raise UsageError(
                text,
                hint=f"Delete the rule first: `gcloud compute firewall-rules delete {name}`.",
            )

    async def _id(self, verb: str, service: str, name: str, detail: str) -> str:
        """Return a request id that changes with each operation Google remembers about `name`."""
        history = await self._operations(service, name)
        newest = str(history[0].get("name")) if history else ""
        where = (self._settings.project, self._settings.region)
        return naming.request_id(*where, verb, service, name, detail, newest)

    async def _operations(self, service: str, name: str) -> list[Json]:
        if service in ("networks", "firewalls"):
            return await self._api.history("global_operations", f"{service}/{name}")
        region = self._settings.region
        return await self._api.history("region_operations", f"{service}/{name}", region=region)

    def _accepted(self, operation: Mapping[str, Any], doing: str) -> None:
        error = machine_state.first_error(operation)
        if error is not None:
            raise errors.ended_badly(doing, self._settings.project, self._settings.region, *error)
