"""Asking the API so that asking twice is once, and reading what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.errors import NotFound, UsageError
from jobs.providers.gce.compute import errors, machine_state, naming
from jobs.providers.gce.compute.api import Api, Json
from jobs.providers.gce.compute.template import Settings


class Requests:
    """Requests about the machines of one project and zone."""

    settings: Settings
    api: Api

    def __init__(self, settings: Settings, endpoint: str | None) -> None:
        self.settings = settings
        self.api = Api(settings.project, endpoint)

    async def raw(self, name: str) -> Json | None:
        """Return the machine as the API describes it, or None."""
        try:
            found = await self.api.call(
                "instances", "get", f"Looking for the machine {name}", zone=self.settings.zone, instance=name
            )
        except NotFound:
            return None
        return {"zone": self.settings.zone, **found}

    async def act(self, verb: str, name: str, raw: Json, doing: str, body: Json | None = None) -> None:
        """Ask for `verb` on a machine of ours, unless that was asked before and is at work."""
        self.require_ours(raw, f"machine {name}", doing)
        history = await self.operations("instances", name)
        if any(one.get("operationType") == verb and one.get("status") != "DONE" for one in history):
            return  # asked before, and at work
        try:
            operation = await self.api.call(
                "instances",
                verb,
                doing,
                body,
                zone=self.settings.zone,
                instance=name,
                request_id=self.request_id(verb, name, _life(raw), history),
            )
        except NotFound:
            if verb in ("stop", "delete") and await self.raw(name) is None:
                return
            raise
        self.require_accepted(operation, doing)

    def request_id(self, verb: str, target: str, intent: str, history: Sequence[Json]) -> str:
        """Return the id of one intent. The newest operation is in it: what failed once may be asked again."""
        newest = str(history[0].get("name")) if history else ""
        return naming.request_id(self.settings.project, self.settings.zone, verb, target, intent, newest)

    async def operations(self, collection: str, name: str) -> Sequence[Json]:
        """Return the operations on a resource of our zone that Google remembers, newest first."""
        return await self.api.history("zone_operations", f"{collection}/{name}", zone=self.settings.zone)

    async def operations_if_down(self, raw: Json) -> Sequence[Json]:
        """Return the operations on a machine of our zone that is down or going down; else nothing."""
        if machine_state.state_of(raw) not in machine_state.DOWN:
            return []
        if naming.last(str(raw.get("zone") or self.settings.zone)) != self.settings.zone:
            return []
        return await self.operations("instances", str(raw["name"]))

    def require_ours(self, raw: Json, what: str, doing: str) -> None:
        """Raise `UsageError` when a resource does not carry our labels, or another owner's."""
        if not naming.is_ours(raw, ""):
            raise UsageError(
                f"{doing} failed: there is a {what} that Offload did not make.",
                hint="Choose another name; what is there is left as it is.",
            )
        if not naming.is_ours(raw, self.settings.owner):
            whose = (raw.get("labels") or {}).get(naming.OWNER) or "no one"
            raise UsageError(
                f"{doing} failed: there is a {what} that Offload made for {whose}.",
                hint=f"Choose another name; if that is you, make the worker with `--owner {whose}`.",
            )

    def require_accepted(self, operation: Json, doing: str) -> None:
        """Raise what an operation says it ended in already."""
        error = machine_state.first_error(operation)
        if error is not None:
            raise errors.ended_badly(doing, self.settings.project, self.settings.zone, *error)

    async def everything(self, service: str, doing: str) -> Sequence[Json]:
        """Return all resources of a zonal or regional service with our labels, in all zones."""
        ours = f"labels.{naming.SCHEMA_LABEL}={naming.SCHEMA}"
        found = await self.spread(service, doing, ours)
        return [raw for raw in found if naming.is_ours(raw, self.settings.owner)]

    async def spread(self, service: str, doing: str, wanted: str = "") -> Sequence[Json]:
        """Return what a zonal or regional service has, everywhere. `wanted`: a filter."""
        return await self.api.pages(
            service, "aggregated_list", doing, **({"filter": wanted} if wanted else {})
        )


def _life(raw: Json) -> str:
    """Return what tells one stretch of a machine's life from the next: its id, and when it started."""
    return "/".join(str(raw.get(key, "")) for key in ("id", "lastStartTimestamp", "lastStopTimestamp"))
