"""What a forge said of a pull request, for playbooks. Plain data: no forge, no ORM, no token.

It is read on the local computer, once, when a job starts. Texts of threads and logs were written by other
people: they are shown and quoted, and decide nothing.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

BRANCHES = "offload/"
_SLUG = 40


@dataclass(frozen=True)
class OpenThread:
    """An unresolved thread. `line` is None for a file's; `comments`: author and text, the oldest first."""

    id: str
    path: str
    line: int | None
    outdated: bool = False
    comments: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FailedCheck:
    """A failed check of the head, and what its log says where the forge keeps one.

    `required`: None when unknown. `command`: what the failed step ran; `again`: a command for only the
    failing tests. `note`: why there is no log, or only a part of it.
    """

    name: str
    required: bool | None = None
    said: str = "failure"
    url: str = ""
    step: str = ""
    command: str = ""
    again: str = ""
    tests: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class ForgeFacts:
    """A pull request as its forge described it at `read_at` (RFC 3339, UTC), about the commit `head_sha`.

    `blocks`: what is in the way of merging; `unknown`: what the forge did not tell; sentences both.
    `threads` is None when they are unknown. `why_not` is set when nothing was read, and says why: then all
    else is empty; `failed_to_read` tells that it should have been.
    """

    read_at: str = ""
    head_sha: str = ""
    blocks: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    failed: tuple[FailedCheck, ...] = ()
    threads: tuple[OpenThread, ...] | None = None
    why_not: str = ""
    failed_to_read: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class RelatedIssue:
    """A parent or a child of an issue. `reference`: `#12`, or with the repository that it is in."""

    reference: str
    title: str
    state: str = ""
    body: str = ""


@dataclass(frozen=True)
class IssueFacts:
    """An issue as its forge described it, all of it written by other people.

    `comments`: author and text, the oldest first. `parents` and `children`: where the forge has such.
    """

    number: int
    title: str = ""
    body: str = ""
    author: str = ""
    url: str = ""
    state: str = ""
    labels: tuple[str, ...] = ()
    comments: tuple[tuple[str, str], ...] = ()
    parents: tuple[RelatedIssue, ...] = ()
    children: tuple[RelatedIssue, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @property
    def branch(self) -> str:
        """Return the name of the branch that implements it."""
        words = re.findall(r"[a-z0-9]+", self.title.lower())
        slug = "-".join(words)[:_SLUG].rstrip("-")
        return f"{BRANCHES}{self.number}-{slug}".rstrip("-")
