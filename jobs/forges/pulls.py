"""What a forge's client answers: pull requests, their checks and threads; and the contract of a client. Pure.

Every text in here was written by other people. It is cut to a length that pages and rows can hold, and it is
never a command, a path or a format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from jobs.errors import NotFound
from jobs.forges.base import COMMIT
from jobs.forges.ci_log import CiLog

LONGEST_TITLE = 500
LONGEST_BODY = 64 * 1024
MOST_LABELS = 30
MOST_CHECKS = 300
MOST_THREADS = 300
MOST_COMMENTS = 20
MOST_REVIEWS = 50
MOST_PARENTS = 3
MOST_CHILDREN = 50
MOST_LOG = 4 * 1024 * 1024

# Control characters, and those that turn the direction of the text around them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
Mergeable = Literal["yes", "no", "unknown"]
Event = Literal["COMMENT", "APPROVE", "REQUEST_CHANGES"]


@dataclass(frozen=True)
class Check:
    """A check of one commit. `outcome`: `success`, `failure`, `pending` or `neutral`.

    `required`: whether the base's rules name it; None when the forge did not say. `said`: the forge's own
    word (`cancelled`, `timed_out`). `log`: number of the forge's CI job that has a log; None for another's.
    """

    name: str
    outcome: str
    required: bool | None = None
    url: str = ""
    said: str = ""
    workflow: str = ""
    log: int | None = None


@dataclass(frozen=True)
class Comment:
    """A comment of a thread. `at`: the forge's time."""

    author: str
    body: str
    url: str = ""
    at: str = ""


@dataclass(frozen=True)
class Thread:
    """A conversation on a line or a file. `line` is None for a file's, and where the line is gone.

    `outdated`: the lines it is about have changed since.
    """

    id: str
    path: str
    line: int | None
    resolved: bool
    comments: tuple[Comment, ...] = ()
    outdated: bool = False

    @property
    def author(self) -> str:
        """Return who began it."""
        return self.comments[0].author if self.comments else ""

    @property
    def bodies(self) -> tuple[str, ...]:
        """Return the texts, the oldest first."""
        return tuple(comment.body for comment in self.comments)


@dataclass(frozen=True)
class Review:
    """A reviewer's last verdict. `state`: `approved`, `changes_requested` or `dismissed`; `sha`: of what."""

    author: str
    state: str
    sha: str = ""
    at: str = ""


@dataclass(frozen=True)
class Rules:
    """What the base's branch rules want before a merge, as far as the forge tells it.

    `approvals`: how many; `checks`: names of the required ones, whether they have reported or not.
    """

    approvals: int = 0
    code_owners: bool = False
    resolved_threads: bool = False
    up_to_date: bool = False
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pull:
    """A pull request. `detailed`: whether the fields below it were asked for; a list does not have them.

    `threads`, `reviews` and `rules` are None when they are unknown.
    """

    number: int
    title: str
    author: str
    state: str
    draft: bool
    url: str
    base_ref: str
    head_ref: str
    head_repository: str
    head_sha: str
    updated_at: str
    labels: tuple[str, ...] = ()
    detailed: bool = False
    id: str = ""
    mergeable: Mergeable = "unknown"
    merge_state: str = ""
    review_decision: str = ""
    can_push: bool = False
    additions: int = 0
    deletions: int = 0
    changed_files: int = 0
    linked_issues: tuple[int, ...] = ()
    checks: tuple[Check, ...] = ()
    threads: tuple[Thread, ...] | None = None
    base_sha: str = ""
    reviews: tuple[Review, ...] | None = None
    rules: Rules | None = None


@dataclass(frozen=True)
class RelatedIssue:
    """A parent or a child of an issue. `reference`: `#12`, `acme/shop#12`, or an epic's `&3`."""

    reference: str
    title: str
    state: str = ""
    body: str = ""


@dataclass(frozen=True)
class Issue:
    """An issue. `comments`: the oldest first; `parents`: the nearest first."""

    number: int
    title: str
    body: str
    author: str
    state: str
    url: str
    labels: tuple[str, ...] = ()
    comments: tuple[Comment, ...] = ()
    parents: tuple[RelatedIssue, ...] = ()
    children: tuple[RelatedIssue, ...] = ()


@dataclass(frozen=True)
class NewPull:
    """A pull request to open, of a branch that is there. `draft`: not ready for review."""

    title: str
    body: str
    base_ref: str
    head_ref: str
    head_repository: str
    draft: bool = False


@dataclass(frozen=True)
class LineComment:
    """A comment of a review. `line` None: about the file. `start_line`: the first of several lines."""

    path: str
    body: str
    line: int | None = None
    start_line: int | None = None
    side: Literal["LEFT", "RIGHT"] = "RIGHT"


@dataclass(frozen=True)
class CommitStatus:
    """A status of one commit. `state`: `success`, `failure`, `error` or `pending`."""

    context: str
    state: str
    description: str


@dataclass(frozen=True)
class Posted:
    """What was posted: its page on the forge."""

    url: str


@dataclass(frozen=True)
class Limit:
    """How many requests a token has left in this hour. `resets_at`: seconds since the epoch."""

    limit: int
    remaining: int
    resets_at: float


class ForgeClient(Protocol):
    """Reads and writes pull requests of one host with at most one token.

    Reading works without a token where the forge allows it. Each method raises `NotFound`,
    `NotConfigured` (no token, or a refused one), `ForgeLimited` and `ForgeUnreachable`. A method that posts
    may raise `ForgeUnreachable` although the post was made: the caller looks for its own mark before it
    repeats.
    """

    @property
    def limit(self) -> Limit | None:
        """What the token has left, as the last answer said; None when it said nothing."""

    async def read_limit(self, slug: str) -> Limit | None:
        """Ask for what is left, with a request that costs least; None when the forge says nothing of it."""

    async def list_open(self, slug: str) -> list[Pull]:
        """Return all open pull requests, the last changed first, without details."""

    async def get(self, slug: str, number: int) -> Pull:
        """Return one pull request with its details."""

    async def files(self, slug: str, number: int) -> Mapping[str, str]:
        """Return the changed files with their patch (empty for a file without lines)."""

    async def expand_commit(self, slug: str, begun: str) -> str:
        """Return the full id of the one commit whose id begins so.

        Raises `NotFound` for none, and where the forge takes the text for a branch.
        """

    async def log(self, slug: str, number: int) -> CiLog:
        """Return the log of a CI job, by `Check.log`: at most its last `MOST_LOG` bytes.

        Raises `NotFound` when the forge no longer keeps it.
        """

    async def find_mark(self, slug: str, number: int, mark: str) -> Posted | None:
        """Return the user's review or comment whose text contains `mark`."""

    async def post_review(
        self, slug: str, pull: Pull, commit: str, event: Event, body: str, comments: Sequence[LineComment]
    ) -> Posted:
        """Post one review with its comments, all or none."""

    async def post_reply(
        self, slug: str, number: int, thread: str, body: str, mark: str, *, resolve: bool
    ) -> Posted:
        """Answer a thread unless the user's answer with `mark` is there, and resolve it when asked to.

        Repeating it finishes what an earlier call left undone.
        """

    async def find_reply(self, slug: str, number: int, thread: str, mark: str) -> Posted | None:
        """Return the user's answer in the thread whose text contains `mark`. Raises `Refused`: no thread."""

    async def find_status(self, slug: str, commit: str, status: CommitStatus) -> Posted | None:
        """Return the page of a commit whose newest status of this context is this one."""

    async def post_status(self, slug: str, commit: str, status: CommitStatus) -> Posted:
        """Set the status of a commit. Setting it again changes nothing that readers see."""

    async def change_labels(
        self, slug: str, number: int, add: Sequence[str], remove: Sequence[str]
    ) -> Posted:
        """Give a pull request labels and take others from it. Repeating it changes nothing."""

    async def issue(self, slug: str, number: int) -> Issue:
        """Return one issue with its first comments, its parents and its children.

        Raises `Refused` for the number of a pull request.
        """

    async def find_pull(self, slug: str, new: NewPull, mark: str) -> Posted | None:
        """Return the pull request of the branch whose text contains `mark`, in whatever state."""

    async def open_pull(self, slug: str, new: NewPull) -> Posted:
        """Open a pull request."""

    async def aclose(self) -> None:
        """Close the connections."""


def cut(value: Any, longest: int = LONGEST_TITLE) -> str:
    """Return a text of the forge, cut to `longest` characters; an empty one for anything else."""
    return value.replace("\x00", "")[:longest] if isinstance(value, str) else ""


def check_commit(said: Any, slug: str, begun: str) -> str:
    """Return the id of a commit that a forge answered with for the beginning of one. Raises `NotFound`."""
    commit = cut(said).lower()
    if not COMMIT.fullmatch(commit) or not commit.startswith(begun.lower()):
        raise NotFound(f"{slug} has no commit {begun}.", hint="Give its full id.")
    return commit


def one_line(text: str) -> str:
    """Return a text of the forge as part of a sentence: one line, no character that controls a terminal."""
    return " ".join(_CONTROL.sub(" ", text).split())


def web_address(value: Any) -> str:
    """Return an address that a page may link to; empty for any other scheme."""
    text = cut(value, 1000)
    return text if text.startswith(("https://", "http://")) else ""


@dataclass
class Api:
    """Where a host's API is, and the token for it. The token is in no representation."""

    host: str
    rest: str
    graphql: str
    token: str = field(default="", repr=False)
