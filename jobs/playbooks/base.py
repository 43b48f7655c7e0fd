"""The contract of a playbook: pure, from what is known about a job to its plan. No I/O, no ORM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jobs.remote.offload_runner.protocol import Plan


@dataclass(frozen=True)
class ChangedFile:
    """A file of the change. `status` is git's letter: A, M, D, R, C or T."""

    path: str
    status: str
    old_path: str = ""
    binary: bool = False
    added: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class RepositoryFacts:
    """What the runner saw while preparing.

    `files` holds the text of the known manifests at the head (path -> text), `base_files` the same at the
    base: configuration is taken from `base_files` only, never from the change under review. `tools` maps
    program names found on the worker to their paths.
    """

    root_entries: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    base_files: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[ChangedFile, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    has_submodules: bool = False
    has_lfs: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RepositoryFacts:
        """Read the `facts` of a `prepared` answer."""
        return cls(
            root_entries=tuple(data.get("root_entries", ())),
            files=dict(data.get("files", {})),
            base_files=dict(data.get("base_files", {})),
            changed=tuple(ChangedFile(**item) for item in data.get("changed", ())),
            tools=dict(data.get("tools", {})),
            cores=int(data.get("cores", 1)),
            has_submodules=bool(data.get("has_submodules")),
            has_lfs=bool(data.get("has_lfs")),
        )


@dataclass(frozen=True)
class Context:
    """Everything a playbook may look at."""

    session: str
    repository: str
    target: str
    number: int | None
    sha: str
    base_sha: str
    base_ref: str
    merge_base: str
    facts: RepositoryFacts
    agent: str | None = None
    prompt: str = ""
    agent_call: Mapping[str, Any] | None = None  # what the plan says of the agent's call
    options: Mapping[str, Any] = field(default_factory=dict)


class Playbook(ABC):
    """The plan behind an action."""

    action: ClassVar[str]
    summary: ClassVar[str]
    needs_base: ClassVar[bool] = True

    @abstractmethod
    def plan(self, context: Context) -> Plan:
        """Return the plan. Raises `UsageError` when the repository's configuration is broken."""
