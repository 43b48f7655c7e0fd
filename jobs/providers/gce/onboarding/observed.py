"""What is wanted of Google Cloud, and what was seen there: data."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.providers.base import Problem, Severity
from jobs.providers.gce.compute.template import Settings, Spec
from jobs.providers.gce.identity import login_key


@dataclass(frozen=True)
class Wanted:
    """What the machines are to be. `key`: the private ssh key's file, empty: the usual ones.

    `image`: the container's; `source`: the range that may use ssh, empty: Google's proxy; None:
    machines get no public address for which it would matter.
    """

    settings: Settings
    spec: Spec
    key: str = ""
    image: str = ""
    source: str | None = ""

    @property
    def project(self) -> str:
        """The project."""
        return self.settings.project


@dataclass
class Seen:
    """The lines, and what repairs need to know."""

    problems: list[Problem] = field(default_factory=list)
    email: str = ""
    username: str = ""
    key: login_key.LocalKey | None = None
    fingerprint: str = ""  # of the key in the OS Login profile, when it is to be renewed there
    apis: list[str] = field(default_factory=list)  # those that are off
    roles: list[str] = field(default_factory=list)  # those that are missing
    may_grant: bool = False
    identity: str = ""  # the service account that machines have, or that can be made for them
    made_identity: bool = False

    def add(
        self,
        severity: Severity,
        subject: str,
        detail: str,
        remedy: str = "",
        command: str = "",
        repair: str = "",
    ) -> None:
        """Add a line."""
        self.problems.append(Problem(severity, subject, detail, remedy, command, repair))
