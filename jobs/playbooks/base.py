"""The contract of a playbook: pure, from what is known about a job to its plan. No I/O, no ORM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from jobs.playbooks.forge_facts import ForgeFacts, IssueFacts
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
    base: configuration is taken from `base_files` only, never from the change under review. The merge base
    has `merge_base_files` and `merge_base_entries` (None: as at the base). `tools` maps program names found
    on the worker to their paths. Texts have no byte order mark, and lines end with a newline only.
    """

    root_entries: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    base_files: Mapping[str, str] = field(default_factory=dict)
    merge_base_files: Mapping[str, str] | None = None
    merge_base_entries: tuple[str, ...] | None = None
    changed: tuple[ChangedFile, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    has_submodules: bool = False
    has_lfs: bool = False

    def __post_init__(self) -> None:
        """Take byte order marks and carriage returns from the manifests."""
        for name in ("files", "base_files", "merge_base_files"):
            texts = getattr(self, name)
            if texts is not None:
                plain = {path: text.lstrip("\ufeff").replace("\r\n", "\n") for path, text in texts.items()}
                object.__setattr__(self, name, plain)

    @property
    def at_merge_base(self) -> RepositoryFacts:
        """Return the same facts about the commit that the change starts from."""
        files = self.base_files if self.merge_base_files is None else self.merge_base_files
        entries = self.merge_base_entries
        if entries is None:
            gone = {file.path for file in self.changed if file.status == "A" and "/" not in file.path}
            entries = tuple(name for name in self.root_entries if name not in gone)
        return replace(self, files=files, root_entries=entries)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RepositoryFacts:
        """Read the `facts` of a `prepared` answer."""
        return cls(
            root_entries=tuple(data.get("root_entries", ())),
            files=dict(data.get("files", {})),
            base_files=dict(data.get("base_files", {})),
            merge_base_files=data.get("merge_base_files"),
            merge_base_entries=None
            if data.get("merge_base_entries") is None
            else tuple(data["merge_base_entries"]),
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
    image: str = ""  # of the container, by digest
    forge: ForgeFacts | None = None  # for a playbook with `needs_forge`
    issue: IssueFacts | None = None  # for a playbook with `needs_issue`
    options: Mapping[str, Any] = field(default_factory=dict)


class Playbook(ABC):
    """The plan behind an action."""

    action: ClassVar[str]
    summary: ClassVar[str]
    needs_base: ClassVar[bool] = True
    needs_forge: ClassVar[bool] = False
    # Whether its target is an issue: it starts from the base's commit, where nothing is changed yet.
    needs_issue: ClassVar[bool] = False
    # Whether a job may start from what was installed for an earlier base (see the runner's `environments`).
    keeps_environment: ClassVar[bool] = False
    # How its agent is called: `review` edits nothing, `fix` and `implement` edit a tree of its own.
    runs_agent_as: ClassVar[str] = "review"

    @property
    def has_rounds(self) -> bool:
        """Tell whether its agent edits a tree, in rounds."""
        return self.runs_agent_as != "review"

    @abstractmethod
    def plan(self, context: Context) -> Plan:
        """Return the plan. Raises `UsageError` when the repository's configuration is broken."""
