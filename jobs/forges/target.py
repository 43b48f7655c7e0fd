"""Targets as users type them: numbers, addresses, branches, commits. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
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
        "trust",
        "send",
        "approve",
        "deny",
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
_SLUG_MERGE = re.compile(rf"(?P<slug>{_SLUG})?!(?P<number>[1-9][0-9]{{0,8}})(?::(?P<name>.*))?", re.DOTALL)
_REF_NUMBER = re.compile(
    r"refs/(?:pull|merge-requests|pull-requests)/(?P<number>[1-9][0-9]{0,8})/(?:head|merge|from)"
)
ABBREVIATED = re.compile(r"[0-9A-Fa-f]{7,39}|[0-9A-Fa-f]{41,63}")
# What follows the number: a tab of the page (`/files`, `/commits/SHA`, `/files/A..B`), or a text form.
_NUMBER_END = r"/(?P<number>[1-9][0-9]{0,8})(?:\.diff|\.patch|(?:/[^/]+)*)/?"
_COMMIT_END = r"/(?P<commit>[0-9A-Fa-f]{7,64})(?:\.diff|\.patch|/.*)?"
# Where a branch stands as well; a date looks like an abbreviated commit.
_FULL_END = r"/(?P<commit>[0-9A-Fa-f]{40}(?:[0-9A-Fa-f]{24})?)(?:\.diff|\.patch|/.*)?"
_BRANCH_END = r"/(?P<ref>.+?)/?"
_PATHS = (
    # GitLab since 12.0, and before; groups can be nested.
    re.compile(rf"/(?P<slug>.+?)/-/(?P<kind>merge_requests|issues|work_items){_NUMBER_END}"),
    re.compile(rf"/(?P<slug>[^/]+(?:/[^/]+)+?)/(?P<kind>merge_requests){_NUMBER_END}"),
    re.compile(rf"/(?P<slug>.+?)/-/commit{_COMMIT_END}"),
    re.compile(rf"/(?P<slug>.+?)/-/(?:commits|tree|blob){_FULL_END}"),
    re.compile(rf"/(?P<slug>.+?)/-/(?:commits|tree){_BRANCH_END}"),
    # Bitbucket Data Center; a user's own repositories are those of the project ~USER.
    re.compile(
        rf"(?P<above>.*)/(?:projects/(?P<project>[^/]+)|users/(?P<user>[^/]+))/repos/(?P<slug>[^/]+)"
        rf"/(?:(?P<kind>pull-requests){_NUMBER_END}|commits{_COMMIT_END})"
    ),
    # GitHub, Gitea, Forgejo, Bitbucket Cloud
    re.compile(rf"/(?:repos/)?(?P<slug>[^/]+/[^/]+)/(?P<kind>pull|pulls|pull-requests|issues){_NUMBER_END}"),
    re.compile(rf"/(?P<slug>[^/]+/[^/]+)/(?:commits/|src/)?commit{_COMMIT_END}"),
    re.compile(rf"/(?P<slug>[^/]+/[^/]+)/(?:commits|tree|blob|src){_FULL_END}"),
    re.compile(rf"/(?P<slug>[^/]+/[^/]+)/(?:(?:commits/|src/)?branch|commits|tree){_BRANCH_END}"),
    # Bitbucket Cloud writes a slash of a branch as %2F.
    re.compile(r"/(?P<slug>[^/]+/[^/]+)/src/(?!tag/)(?P<ref>[^/]+)(?:/.*)?"),
    # GitLab before 12.0
    re.compile(rf"/(?P<slug>[^/]+(?:/[^/]+)+?)/(?P<kind>issues){_NUMBER_END}"),
    re.compile(rf"/(?P<slug>[^/]+(?:/[^/]+){{2,}}?)/commit{_COMMIT_END}"),
    re.compile(rf"/(?P<slug>[^/]+(?:/[^/]+){{2,}}?)/(?:commits|tree){_BRANCH_END}"),
)
_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
# An address as people type it: without its scheme.
_HOST_PATH = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::[0-9]+)?/.+", re.IGNORECASE)
# Repositories have two names there, so what follows is a page of the repository.
_TWO_NAMES = frozenset({"github.com", "bitbucket.org", "codeberg.org", "gitea.com"})
_WWW = frozenset({"www.github.com", "www.gitlab.com", "www.bitbucket.org"})
_TOKEN_LENGTH = 16
_PORTS = {"https": 443, "ssh": 22}
_SSH_AT_443 = {"git@ssh.github.com:443": "github.com", "git@altssh.gitlab.com:443": "gitlab.com"}
_SCP = re.compile(
    # HOST, [v6], or [USER@HOST:PORT]
    r"(?:[A-Za-z0-9_.-]+@)?(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]|\[[A-Za-z0-9_.@-]+:[0-9]+\]):(?!//)[^\s]+"
)


@dataclass(frozen=True)
class Target:
    """What a job is about.

    `ref`: the branch or the commit, for those kinds. `name`: tells several jobs of one target and action
    apart. `repository`: the repository that the target names (an address or `owner/repo`), or empty.
    `explicit`: the user said that it is a branch, which may then look like a commit.
    """

    kind: Kind
    number: int | None = None
    ref: str = ""
    name: str = ""
    repository: str = ""
    explicit: bool = field(default=False, compare=False)

    @property
    def shown(self) -> str:
        """Return the target as it is shown and stored."""
        if self.number is None:
            return self.ref
        return f"#{self.number}"


def parse_target(text: str) -> Target:
    """Read `123`, `#123`, `!123`, `123:name`, `owner/repo#123`, an address, a branch or a commit.

    A commit may be abbreviated where that is certain to be one: in an address, or if it has digits only; see
    `ABBREVIATED`. `branch:NAME` is the branch NAME even when NAME looks like a verb, a number or
    `owner/repo#1`; a job name can follow. Raises `UsageError` for a text that is none of these.
    """
    text = text.strip()
    if text.startswith("<") and text.endswith(">"):  # as mails have addresses
        text = text[1:-1]
    if not text:
        raise UsageError("The target is empty.", hint="Name a pull request (123), its URL, or a branch.")
    if text.startswith(BRANCH):
        branch, colon, name = text.removeprefix(BRANCH).partition(":")
        _check_branch(branch, text, explicit=True)
        return Target("branch", ref=branch, name=_name(name if colon else None, text), explicit=True)
    if match := _NUMBER.fullmatch(text):
        return Target("pull", int(match["number"]), name=_name(match["name"], text))
    if match := _SLUG_NUMBER.fullmatch(text) or _SLUG_MERGE.fullmatch(text):
        name, repository = _name(match["name"], text), match["slug"] or ""
        return Target("pull", int(match["number"]), name=name, repository=repository)
    if _SCHEME.match(text):
        return _from_url(text)
    if _HOST_PATH.fullmatch(text) and any(one.fullmatch(_split(f"//{text}").path) for one in _PATHS):
        return _from_url(f"https://{text}")
    if text.startswith("-") or text in VERBS:
        raise UsageError(
            f"{text!r} is not a target.",
            hint=f"Name a pull request (123), its address, or a branch ({BRANCH}{text} if that is its name).",
        )
    branch, colon, name = text.partition(":")
    if match := _REF_NUMBER.fullmatch(branch):
        return Target("pull", int(match["number"]), name=_name(name if colon else None, text))
    return _from_ref(branch.removeprefix("refs/heads/"), _name(name if colon else None, text), text)


def _from_ref(ref: str, name: str, text: str, repository: str = "") -> Target:
    """Return the target for a commit id, in upper or lower case, or a branch."""
    if COMMIT.fullmatch(ref.lower()) or (ref.isdigit() and ABBREVIATED.fullmatch(ref)):
        return Target("commit", ref=ref.lower(), name=name, repository=repository)
    _check_branch(ref, text)
    return Target("branch", ref=ref, name=name, repository=repository)


def _from_url(text: str) -> Target:
    parts = _split(text)
    _refuse_secrets(parts)
    for pattern in _PATHS:
        match = pattern.fullmatch(parts.path)
        if match is None:
            continue
        found = match.groupdict()
        slug = match["slug"].removesuffix(".git")
        if "above" in found:
            slug = f"{match['above']}/scm/{match['project'] or '~' + match['user']}/{slug}".removeprefix("/")
        host = parts.netloc.lower()
        address = f"{parts.scheme}://{'github.com' if host == 'api.github.com' else host}/{slug}"
        if commit := found.get("commit"):
            return Target("commit", ref=commit.lower(), repository=address)
        if "ref" in found:
            branch = unquote(match["ref"])
            _check_branch(branch, text, explicit=True)
            return Target("branch", ref=branch, repository=address, explicit=True)
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
        parts = _split(re.sub(r"^(git\+ssh|ssh\+git)://", "ssh://", text))
        _refuse_secrets(parts)
        if parts.scheme not in ("https", "http", "ssh", "git") or not parts.netloc or not _has_port(parts):
            raise UsageError(f"{text!r} is not an address that git can fetch from.")
        return _bare(_plain(parts))
    if _SCP.fullmatch(text):
        return _bare(text)
    if re.fullmatch(_SLUG, text) and text.count("/") == 1:
        return f"https://github.com/{_bare(text)}"
    raise UsageError(
        f"{text!r} is not a repository: there is no such directory, and it is no URL.",
        hint="Give a path, a URL, or owner/repo.",
    )


def _refuse_secrets(parts: SplitResult) -> None:
    """Raise `UsageError`, without the secret, for an address with a password or what looks like a token."""
    if parts.password is not None:
        raise UsageError(
            f"The address of {parts.hostname}{parts.path} holds a password.",
            hint="Leave it out, and let git's credential helper or ssh answer: Offload stores no secret.",
        )
    # Forges take a token as the user name; a plain one says nothing that a credential helper needs.
    if parts.scheme in ("https", "http") and len(parts.username or "") >= _TOKEN_LENGTH:
        raise UsageError(
            f"The address of {parts.hostname}{parts.path} holds what looks like a token.",
            hint="Leave it out, and let git's credential helper or ssh answer.",
        )


def _plain(parts: SplitResult) -> str:
    """Return an address as git takes it: of a web address, without what belongs to a page or a browser."""
    if parts.scheme not in ("https", "http"):
        return parts.geturl()
    host = parts.netloc.lower().rpartition("@")[2]
    host = host.removesuffix({"https": ":443", "http": ":80"}[parts.scheme])
    host = host.removeprefix("www.") if host in _WWW else host
    path = parts.path.partition("/-/")[0]
    if host in _TWO_NAMES:
        path = "/".join(path.split("/")[:3])
    return f"{parts.scheme}://{host}{path}"


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
            user, host = (parts.username or "git"), parts.netloc.rpartition("@")[2]
            host = host.removesuffix(f":{_PORTS[parts.scheme]}")
        path = parts.path
    elif _SCP.fullmatch(url):
        end = url.index(":", max(url.find("]"), 0))
        account, path = url[:end], url[end + 1 :]
        user, _, host = account.rpartition("@")
    path = path.strip("/")
    if user != "git" or not host or not path:
        return [url]
    host = host.lower()
    forms = [f"https://{host}/{path}", f"git@{host}:{path}", f"ssh://git@{host}/{path}"]
    return list(dict.fromkeys([url, *forms, f"git@{host}:/{path}", f"ssh://git@{host}:22/{path}"]))


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
