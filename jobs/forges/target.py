"""Targets as users type them: numbers, addresses, branches, commits. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from jobs.errors import UsageError
from jobs.forges.base import COMMIT

Kind = Literal["pull", "issue", "branch", "commit"]

VERBS = frozenset(
    {
        "ls",
        "status",
        "attach",
        "shell",
        "peek",
        "logs",
        "wait",
        "cancel",
        "rm",
        "diff",
        "outbox",
        "secret",
        "token",
        "doctor",
        "setup",
        "fleet",
        "serve",
        "completion",
        "mcp",
        "skill",
        "help",
        "version",
    }
)
BRANCH = "branch:"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_SLUG = r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+"
_NUMBER = re.compile(r"#?(?P<number>[1-9][0-9]{0,8})(?::(?P<name>.*))?", re.DOTALL)
_SLUG_NUMBER = re.compile(rf"(?P<slug>{_SLUG})#(?P<number>[1-9][0-9]{{0,8}})(?::(?P<name>.*))?", re.DOTALL)
# What follows the number: a tab of the page (`/files`, `/commits/SHA`, `/files/A..B`), or a text form.
_NUMBER_END = r"/(?P<number>[1-9][0-9]{0,8})(?:\.diff|\.patch|/[a-z][a-z_-]*(?:/[^/]+)*)?/?"
_PATHS = (
    # GitLab since 12.0, and before; groups can be nested.
    re.compile(rf"/(?P<slug>.+?)/-/(?P<kind>merge_requests|issues|work_items){_NUMBER_END}"),
    re.compile(rf"/(?P<slug>[^/]+(?:/[^/]+)+?)/(?P<kind>merge_requests){_NUMBER_END}"),
    re.compile(r"/(?P<slug>.+?)/-/(?P<kind>commit|tree)/(?P<ref>.+?)/?"),
    # Bitbucket Data Center
    re.compile(rf"/projects/(?P<slug>[^/]+/repos/[^/]+)/(?P<kind>pull-requests){_NUMBER_END}"),
    # GitHub, Gitea, Forgejo, Bitbucket Cloud
    re.compile(rf"/(?P<slug>[^/]+/[^/]+)/(?P<kind>pull|pulls|pull-requests|issues){_NUMBER_END}"),
    re.compile(r"/(?P<slug>[^/]+/[^/]+)/(?P<kind>commit|commits|tree|src/branch|src/commit)/(?P<ref>.+?)/?"),
)
_TOKEN_LENGTH = 16
_PORTS = {"https": 443, "ssh": 22}
_SSH_AT_443 = {"git@ssh.github.com:443": "github.com", "git@altssh.gitlab.com:443": "gitlab.com"}
_SCP = re.compile(r"(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+:(?!//)[^\s]+")


@dataclass(frozen=True)
class Target:
    """What a job is about.

    `ref`: the branch or the commit, for those kinds. `name`: tells several jobs of one target and action
    apart. `repository`: the repository that the target names (an address or `owner/repo`), or empty.
    """

    kind: Kind
    number: int | None = None
    ref: str = ""
    name: str = ""
    repository: str = ""

    @property
    def shown(self) -> str:
        """Return the target as it is shown and stored."""
        if self.number is None:
            return self.ref
        return f"#{self.number}" if self.kind == "pull" else f"issue #{self.number}"


def parse_target(text: str) -> Target:
    """Read `123`, `#123`, `123:name`, `owner/repo#123`, an address, a branch or a commit.

    `branch:NAME` is the branch NAME even when NAME looks like a verb, a number or `owner/repo#1`; a job
    name can follow. Raises `UsageError` for a text that is none of these.
    """
    text = text.strip()
    if not text:
        raise UsageError("The target is empty.", hint="Name a pull request (123), its URL, or a branch.")
    if text.startswith(BRANCH):
        branch, colon, name = text.removeprefix(BRANCH).partition(":")
        _check_branch(branch, text, explicit=True)
        return Target("branch", ref=branch, name=_name(name if colon else None, text))
    if match := _NUMBER.fullmatch(text):
        return Target("pull", int(match["number"]), name=_name(match["name"], text))
    if match := _SLUG_NUMBER.fullmatch(text):
        return Target("pull", int(match["number"]), name=_name(match["name"], text), repository=match["slug"])
    if text.startswith(("https://", "http://")):
        return _from_url(text)
    if text.startswith("-") or text in VERBS:
        raise UsageError(
            f"{text!r} is not a target.",
            hint=f"Name a pull request (123), its address, or a branch ({BRANCH}{text} if that is its name).",
        )
    branch, colon, name = text.partition(":")
    return _from_ref(branch, _name(name if colon else None, text), text)


def _from_ref(ref: str, name: str, text: str, repository: str = "") -> Target:
    """Return the target for a commit id, in upper or lower case, or a branch."""
    if COMMIT.fullmatch(ref.lower()):
        return Target("commit", ref=ref.lower(), name=name, repository=repository)
    _check_branch(ref, text)
    return Target("branch", ref=ref, name=name, repository=repository)


def _from_url(text: str) -> Target:
    parts = _split(text)
    for pattern in _PATHS:
        match = pattern.fullmatch(parts.path)
        if match is None:
            continue
        slug = match["slug"].removesuffix(".git")
        if pattern.pattern.startswith("/projects/"):
            slug = f"scm/{slug.replace('/repos/', '/')}"
        address = f"{parts.scheme}://{parts.netloc}/{slug}"
        if "ref" in pattern.groupindex:
            return _from_ref(unquote(match["ref"]), "", text, address)
        kind: Kind = "issue" if match["kind"] in ("issues", "work_items") else "pull"
        return Target(kind, int(match["number"]), repository=address)
    raise UsageError(
        f"{text} is not the address of a pull request, merge request, issue, branch or commit.",
        hint="Copy it from the browser's address bar, or give the number with --repo.",
    )


def _name(name: str | None, text: str) -> str:
    if name is None:
        return ""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The job name {name!r} in {text!r} is not usable.",
            hint="Use 1 to 40 letters, digits, dots, dashes and underscores, as in 123:debug.",
        )
    return name


def _check_branch(branch: str, text: str, *, explicit: bool = False) -> None:
    """Refuse what git refuses as a branch name (git-check-ref-format), and what looks like a number.

    `explicit`: the user said that it is a branch, and it may look like a number.
    """
    bad = (
        not branch
        or branch.startswith("-")
        or (not explicit and re.fullmatch("#?[0-9]+", branch))
        or branch.startswith(("/", "."))
        or branch.endswith(("/", ".", ".lock"))
        or ".." in branch
        or "//" in branch
        or "/." in branch
        or "@{" in branch
        or branch == "@"
        or re.search(r"[\x00-\x20\x7f~^:?*\[\\]", branch)
    )
    if bad:
        raise UsageError(
            f"{text!r} is neither a number, a URL nor a branch name.",
            hint="Name a pull request (123), its URL, or a branch.",
        )


def normalise_url(text: str, cwd: Path) -> str:
    """Return the one form of a repository's address: absolute path, or URL without `.git` and slash.

    `owner/repo` is GitHub's unless it is a directory below `cwd`. Raises `UsageError`.
    """
    text = text.strip()
    if text.startswith("file://"):
        text = _split(text).path
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{text!r} names the home of a user that does not exist here.", hint="Write the whole path."
        ) from None
    if text.startswith(("/", "./", "../", "~")) or text in (".", "..") or os.path.isdir(cwd / path):
        return str((cwd / path).resolve())
    if "://" in text:
        parts = _split(text)
        if parts.password is not None:
            raise UsageError(
                f"The address of {parts.hostname}{parts.path} holds a password.",
                hint="Leave it out, and let git's credential helper or ssh answer: Offload stores no secret.",
            )
        if parts.scheme in ("https", "http") and parts.username is not None:
            # Forges take a token as the user name; a plain one says nothing that a credential helper needs.
            if len(parts.username) >= _TOKEN_LENGTH:
                raise UsageError(
                    f"The address of {parts.hostname}{parts.path} holds what looks like a token.",
                    hint="Leave it out, and let git's credential helper or ssh answer.",
                )
            text = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if parts.scheme not in ("https", "http", "ssh", "git") or not parts.netloc or not _has_port(parts):
            raise UsageError(f"{text!r} is not an address that git can fetch from.")
        return _bare(text)
    if _SCP.fullmatch(text):
        return _bare(text)
    if re.fullmatch(_SLUG, text) and text.count("/") == 1:
        return f"https://github.com/{_bare(text)}"
    raise UsageError(
        f"{text!r} is not a repository: there is no such directory, and it is no URL.",
        hint="Give a path, a URL, or owner/repo.",
    )


def spellings(url: str) -> list[str]:
    """Return the addresses of the repository that `url` names: itself first, then https and ssh forms.

    Only the default ports and the ssh user `git` count: another port can be another server, another user's
    home another repository. GitHub and GitLab also answer ssh at port 443 of a host of its own. Pure.
    """
    user, host, path = "git", "", ""
    if "://" in url:
        parts = urlsplit(url)
        if parts.netloc.lower() in _SSH_AT_443 and parts.scheme == "ssh":
            host = _SSH_AT_443[parts.netloc.lower()]
        elif parts.scheme in ("https", "ssh") and parts.port in (None, _PORTS[parts.scheme]):
            user, host = (parts.username or "git"), parts.hostname or ""
        path = parts.path
    elif _SCP.fullmatch(url):
        account, _, path = url.partition(":")
        user, _, host = account.rpartition("@")
    path = path.strip("/")
    if user != "git" or not host or not path:
        return [url]
    host = host.lower()
    return list(
        dict.fromkeys([url, f"https://{host}/{path}", f"git@{host}:{path}", f"ssh://git@{host}/{path}"])
    )


def _has_port(parts: SplitResult) -> bool:
    """Return whether the port is one, or left out."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not an address: {error}.", hint="Copy it from the browser's address bar."
        ) from error


def _bare(text: str) -> str:
    return text.rstrip("/").removesuffix(".git").rstrip("/")
