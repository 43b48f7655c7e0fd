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
    """One line of a check: what was looked at, what was seen, what to do about it."""

    severity: Severity
    subject: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Instance:
    """A machine as the provider knows it."""

    name: str
    state: InstanceState
    detail: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do. Callers look here first instead of catching errors."""

    creates: bool = False
    stops: bool = False
    costs: bool = False
    many: bool = True


class WorkerProvider(ABC):
    """One kind of machine, for one account or configuration."""

    kind: ClassVar[str]
    capabilities: ClassVar[Capabilities]

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

    @abstractmethod
    async def check(self) -> Sequence[Problem]:
        """Look at what this provider needs in order to work."""
