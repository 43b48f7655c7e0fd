"""Container-Optimized OS machines in the user's own project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.errors import NotConfigured, NotFound, OffloadError, UsageError
from jobs.providers.base import Instance, InstanceState, Problem, WorkerProvider
from jobs.providers.gce.compute import errors, machine_state, naming, routes
from jobs.providers.gce.compute.api import Json, endpoint_override
from jobs.providers.gce.compute.requests import Requests
from jobs.providers.gce.compute.template import instance_body, read_settings, read_spec, require_disk
from jobs.providers.gce.onboarding import place_check
from jobs.transport.endpoint import SshEndpoint


class GceCosProvider(Requests, WorkerProvider):
    """Machines of one project and zone.

    Configuration: see `template.Settings`; `home` (where pinned host keys are) is given by the caller;
    `endpoint`: the address of the API, when it is not Google's (a simulator's). A
    request (`spec`): see `template.Spec`. `Instance.data`: see `sight.view`. Beyond the contract there are
    `failure`, `disk`, `delete_disk`, `guest_attributes`, `host_keys`, `serial`, `resize`.

    Zone failover is the caller's: `NoCapacity` names the zone; a provider with another `zone` tries there.
    """

    kind = "gce-cos"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._home = Path(str(config.get("home") or Path.home() / ".offload"))
        if config.get("simulated") and not config.get("endpoint"):
            # A simulated machine is never asked for at Google, whatever the environment says.
            raise NotConfigured(
                "This is a simulated machine, and its simulator was never started here.",
                hint="Any command of `manage.py fleet` starts it.",
            )
        endpoint = config.get("endpoint") or endpoint_override()
        super().__init__(read_settings(config), endpoint)

    # The contract

    async def create(self, spec: Mapping[str, Any], name: str) -> None:
        """Ask for the machine, with its data disk made, or attached when it exists.

        Raises `UsageError` (bad spec, name or disk of another owner), `NotConfigured`, `NoCapacity`
        (names the zone), `QuotaExceeded`. Capacity may also run out later: see `failure`.
        """
        wanted = read_spec(spec)
        naming.check_name(name)
        doing = f"Making the machine {name} in {self.settings.zone}"
        existing = await self.raw(name)
        if existing is not None:
            self.require_ours(existing, f"machine {name}", doing)
            return
        disk = await self.disk(name)
        if disk is not None:
            if name in naming.attached_to(disk) and await self.raw(name) is not None:
                return  # created by another request between our two reads
            self.require_usable_disk(disk, name, doing)
            require_disk(wanted.machine_type, disk, doing)
        history = await self.operations("instances", name)
        disk_life = f"{disk.get('id')}/{disk.get('lastDetachTimestamp', '')}" if disk else ""
        body = instance_body(self.settings, wanted, name, disk is not None)
        try:
            operation = await self.api.call(
                "instances",
                "insert",
                doing,
                body,
                zone=self.settings.zone,
                request_id=self.request_id("insert", name, f"{wanted.intent}/{disk_life}", history),
            )
        except errors.AlreadyThere:
            if await self.raw(name) is None:
                raise  # it is a disk that is there
            return  # another request for the same machine was first
        self.require_accepted(operation, doing)

    async def get(self, name: str) -> Instance | None:
        """Return the machine with what is known of it, or None."""
        raw = await self.raw(name)
        if raw is None:
            return None
        return machine_state.view(raw, await self.operations_if_down(raw))

    async def list(self) -> Sequence[Instance]:
        """Return every machine with our labels (and our owner's), in all zones."""
        doing = f"Listing the machines of {self.settings.project}"
        ours = await self.everything("instances", doing)
        return [machine_state.view(raw, await self.operations_if_down(raw)) for raw in ours]

    async def start(self, name: str) -> None:
        """Ask a stopped machine to start. Raises `NotFound`, `NoCapacity`, and `NotReady` while it stops."""
        raw = await self.raw(name)
        if raw is None:
            raise NotFound(
                f"Starting the machine {name} failed: {self.settings.zone} has no such machine.",
                hint=f"Make it again: `manage.py fleet provision {name}`; a data disk that exists is used.",
            )
        if machine_state.state_of(raw) in (InstanceState.CREATING, InstanceState.RUNNING):
            return
        verb = "resume" if str(raw.get("status")).upper() == "SUSPENDED" else "start"
        await self.act(verb, name, raw, f"Starting the machine {name} in {self.settings.zone}")

    async def stop(self, name: str) -> None:
        """Ask a machine to stop. One that is absent, stopped or stopping is success."""
        raw = await self.raw(name)
        if raw is None or machine_state.state_of(raw) in machine_state.DOWN:
            return
        await self.act("stop", name, raw, f"Stopping the machine {name}")

    async def delete(self, name: str) -> None:
        """Ask for the machine to be deleted. The data disk stays: see `delete_disk`."""
        raw = await self.raw(name)
        if raw is None:
            return
        await self.act("delete", name, raw, f"Deleting the machine {name}")

    def endpoint(self, instance: Instance) -> SshEndpoint:
        """Return where the machine is reached by the first configured strategy. Pure."""
        return next(iter(self.ways(instance).values()))

    def ways(self, instance: Instance) -> Mapping[str, SshEndpoint]:
        """Return where the machine is reached by each configured strategy, in order. Pure."""
        return routes.ways(self.settings, self._home, instance)

    def address(self, instance: Instance) -> Mapping[str, str]:
        """Return what `ways` needs. Pure."""
        return {key: str(instance.data.get(key) or "") for key in routes.NEEDED}

    async def check(self) -> Sequence[Problem]:
        """Look at credentials, project, zone, machine type, quota, network and gcloud."""
        return await place_check.check(self.api, self.settings)

    async def failure(self, name: str) -> OffloadError | None:
        """Return why the newest operation on the machine failed, translated; None when it did not."""
        for operation in await self.operations("instances", name):
            if operation.get("status") != "DONE":
                return None
            return machine_state.error_of(operation, name, self.settings.project, self.settings.zone)
        return None

    # Beyond the contract

    async def disk(self, name: str) -> Json | None:
        """Return the data disk of a machine as the API describes it, or None. It may outlive the machine."""
        return await self.named_disk(naming.data_disk(name))

    async def named_disk(self, disk: str) -> Json | None:
        """Return any disk of the zone as the API describes it, or None."""
        try:
            return await self.api.call(
                "disks", "get", f"Looking for the disk {disk}", zone=self.settings.zone, disk=disk
            )
        except NotFound:
            return None

    def require_usable_disk(self, disk: Json, name: str, doing: str) -> None:
        """Raise `UsageError` when the data disk is not ours, or is attached to a machine."""
        self.require_ours(disk, f"disk {naming.data_disk(name)}", doing)
        if users := naming.attached_to(disk):
            raise UsageError(
                f"{doing} failed: its data disk is attached to {', '.join(users)}.",
                hint="Delete that machine (its data disk is kept), or choose another name.",
            )

    async def delete_disk(self, name: str) -> None:
        """Ask for the data disk to be deleted; absent is success. Raises `NotReady` while it is attached."""
        disk = await self.disk(name)
        if disk is None:
            return
        doing = f"Deleting the disk {naming.data_disk(name)}"
        self.require_ours(disk, f"disk {naming.data_disk(name)}", doing)
        try:
            operation = await self.api.call(
                "disks",
                "delete",
                doing,
                zone=self.settings.zone,
                disk=naming.data_disk(name),
                request_id=self.request_id(
                    "delete-disk",
                    str(disk.get("id") or ""),
                    "",
                    await self.operations("disks", naming.data_disk(name)),
                ),
            )
        except NotFound:
            return
        self.require_accepted(operation, doing)

    async def disks(self) -> Sequence[Json]:
        """Return every disk with our labels, in all zones, as the API describes them."""
        return await self.everything("disks", f"Listing the disks of {self.settings.project}")

    async def guest_attributes(self, name: str, namespace: str) -> Mapping[str, str]:
        """Return what the guest published in a namespace (`hostkeys`, `offload`); empty until it did."""
        try:
            found = await self.api.call(
                "instances",
                "get_guest_attributes",
                f"Reading what {name} published",
                zone=self.settings.zone,
                instance=name,
                query_path=f"{namespace}/",
            )
        except NotFound:  # what Google says of what was not published
            return {}
        items = (found.get("queryValue") or {}).get("items") or []
        return {str(one.get("key")): str(one.get("value", "")) for one in items}

    async def host_keys(self, name: str) -> Sequence[str]:
        """Return the public host keys, `ssh-ed25519 AAAA...` each; empty until the machine published them."""
        return [f"{kind} {key}" for kind, key in (await self.guest_attributes(name, "hostkeys")).items()]

    async def serial(self, name: str, start: int = 0) -> tuple[str, int]:
        """Return the serial console's text from byte `start` on, and where to go on next time."""
        found = await self.api.call(
            "instances",
            "get_serial_port_output",
            f"Reading the serial console of {name}",
            zone=self.settings.zone,
            instance=name,
            start=start,
            port=1,
        )
        return str(found.get("contents", "")), int(found.get("next", 0))

    async def resize(self, name: str, machine_type: str) -> None:
        """Ask for another machine type. The machine must be stopped. Raises `UsageError`, `NotReady`.

        Its disks stay as they are: a type of a series that cannot have them is refused.
        """
        doing = f"Making {name} a {machine_type}"
        raw = await self.raw(name)
        if raw is None:
            raise NotFound(f"{doing} failed: there is no such machine.")
        if naming.last(str(raw.get("machineType", ""))) == machine_type:
            return
        for attached in raw.get("disks") or ():
            if source := naming.last(str(attached.get("source") or "")):
                require_disk(machine_type, await self.named_disk(source) or {}, doing)
        body = {"machineType": f"zones/{self.settings.zone}/machineTypes/{machine_type}"}
        await self.act("set_machine_type", name, raw, doing, body)
