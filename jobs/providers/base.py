"""The contract of a provider: it makes, finds, starts, stops and deletes machines, and nothing else.

Every call is idempotent and returns when the request was accepted, never waits for the machine. The
caller chooses the name and saves it first, so that a crash leaves a machine that can be found. Absent is
success for `stop` and `delete`. Every provider passes `tests/contracts/provider.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from jobs.errors import OffloadError, Refused
from jobs.transport.endpoint import Endpoint


class InstanceState(StrEnum):
    """What the provider says about a machine."""

    CREATING = "creating"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"


class Severity(StrEnum):
    """How bad a problem is."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Problem:
    """One line of a check: what was looked at, what was seen, what to do about it.

    `command`: the remedy as one types it, to be copied; `repair`: what `--apply` can do about it (a name that
    the check's own package knows).
    """

    severity: Severity
    subject: str
    detail: str
    remedy: str = ""
    command: str = ""
    repair: str = ""


@dataclass(frozen=True)
class Instance:
    """A machine as the provider knows it."""

    name: str
    state: InstanceState
    detail: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Price:
    """An estimate of what a machine costs, in `currency`. `running`: per hour while it runs, disks included;

    `stopped`: per hour while it is stopped. `as_of` (a date) and `source` say where the figures are from.
    """

    running: float
    stopped: float
    as_of: str
    source: str
    currency: str = "USD"
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def month(self) -> float:
        """Return the price of a month (730 hours) without a stop."""
        return self.running * 730


@dataclass(frozen=True)
class Resource:
    """Something of ours in an account. `owner`: the name of the machine that it was made for.

    What was made for several machines has no owner but a `group` that it belongs to (see
    `CloudProvider.stands_on`), and may be `in_use` by machines that no row knows. `home`: the id
    of the Offload home that made it, empty when it does not say; None where homes are not told apart.
    `month`: what a disk costs a month, about, in USD; None when that is not known.
    """

    kind: str  # instance, disk, address, firewall, ...
    name: str
    place: str = ""
    owner: str = ""
    billed: bool = True
    detail: str = ""
    group: str = ""
    in_use: bool = False
    home: str | None = None
    month: float | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" in {self.place}" if self.place else "")


class WorkerProvider(ABC):
    """One kind of machine, for one account or configuration."""

    kind: ClassVar[str]

    @abstractmethod
    async def create(self, spec: Mapping[str, Any], name: str) -> None:
        """Ask for a machine called `name`. A machine of that name that exists already is success.

        Raises `UsageError` (bad spec), `NotConfigured`, `NoCapacity`.
        """

    @abstractmethod
    async def get(self, name: str) -> Instance | None:
        """Return the machine, or None when there is none."""

    @abstractmethod
    async def list(self) -> Sequence[Instance]:
        """Return every machine of ours."""

    @abstractmethod
    async def start(self, name: str) -> None:
        """Ask a stopped machine to start. Raises `NotFound`, `NoCapacity`."""

    @abstractmethod
    async def stop(self, name: str) -> None:
        """Ask a machine to stop."""

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Ask for the machine to be deleted."""

    @abstractmethod
    def endpoint(self, instance: Instance) -> Endpoint:
        """Return where the machine is reached. Pure."""

    def ways(self, instance: Instance) -> Mapping[str, Endpoint]:
        """Return all ways to the machine by name, the preferred one first. Pure."""
        return {"": self.endpoint(instance)}

    def address(self, instance: Instance) -> Mapping[str, str]:
        """Return the data of a machine that `ways` needs, to be saved; empty: ask for it each time. Pure."""
        return {}

    @abstractmethod
    async def check(self) -> Sequence[Problem]:
        """Look at what this provider needs in order to work."""


class Ability(StrEnum):
    """What only some providers can do."""

    CONSOLE = "serial console"  # `console`
    RESIZE = "other size"  # `resize`
    WARM = "warm pool"  # the provider keeps machines up itself, and `create` takes one of them


class CloudProvider(WorkerProvider):
    """A provider whose machines are made on request and cost money.

    The same rules hold: idempotent, no waiting, absent is success. `create` takes `zone` and `spot` in its
    spec; machines keep their data disk on `delete`, and a new machine of the same name takes it up again.
    What not every provider can do is declared in `abilities`.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset()

    @classmethod
    def prepare(cls) -> None:
        """Load what takes its time before the first request; blocks. Raises `NotConfigured`."""

    @abstractmethod
    async def resources(self) -> Sequence[Resource]:
        """Return everything in the account that was made for one machine of ours, in all zones."""

    @abstractmethod
    async def remove(self, resource: Resource) -> None:
        """Ask for one resource to be deleted, a protected disk too. Absent is success."""

    @abstractmethod
    async def find_failure(self, name: str) -> OffloadError | None:
        """Return why the last accepted request about a machine failed later on; None when it did not."""

    def require(self, ability: Ability) -> None:
        """Raise `Refused` when the provider lacks an ability."""
        if ability not in self.abilities:
            raise Refused(f"Machines of kind {self.kind} have no {ability.value}.")

    async def report(self, name: str) -> Mapping[str, str]:
        """Return what the machine last said about its boot (`state`, `step`, `error`); empty: nothing."""
        return {}

    async def console(self, name: str) -> str:
        """Return the text of the serial console. Raises `NotFound`."""
        raise NotImplementedError

    async def resize(self, name: str, size: str) -> None:
        """Give a stopped machine another size. Raises `UsageError` (no such size), `NotFound`."""
        raise NotImplementedError

    async def price(self, spec: Mapping[str, Any]) -> Price | None:
        """Return what a machine of this spec costs; None when it is not known. Nothing is asked for."""
        return None

    async def shared(self) -> Sequence[Resource]:
        """Return what was made in the account for several machines, in the order in which it can go."""
        return []

    def shared_groups(self) -> frozenset[str]:
        """Return the groups of shared resources that machines of this configuration need. Pure."""
        return frozenset()

    async def still_exists(self, resource: Resource) -> bool:
        """Return whether a resource that was asked to go is still there."""
        return any(str(one) == str(resource) for one in await self.resources())

    async def host_keys(self, name: str) -> Sequence[str]:
        """Return the public host keys that the machine published (`ssh-ed25519 AAAA...`); empty: none yet."""
        return []

    async def create_shared(self, zone: str) -> str | None:
        """Ask for the next missing part of what machines in a zone stand on (the network).

        Returns what is under way, in words; None when all of it is there.
        """
        return None
