"""The contract of a forge: what its addresses and refs look like. Pure."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

# A full commit id: SHA-1, or SHA-256 in repositories of that format.
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Forge(ABC):
    """One kind of service where pull requests live."""

    kind: ClassVar[str]
    # The user name that goes with a token, as the forge documents it.
    token_user: ClassVar[str] = "git"
    # Host -> the well-known name of its token.
    token_names: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def matches(self, url: str) -> bool:
        """Tell whether a repository's address is on such a forge."""

    @abstractmethod
    def pull_ref(self, number: int) -> str:
        """Return the full ref under which the forge publishes a pull request's head."""

    @abstractmethod
    def pull_url(self, url: str, number: int) -> str:
        """Return a pull request's page, or an empty text when it is unknown."""

    def token_name(self, url: str) -> str:
        """Return the name of the secret for a private repository; empty when no token may be sent.

        Two hosts never share a name, so that no address gets another host's token: `GIT_TOKEN_<HOST>` in
        capitals, with `_` for a dot and `__` and two hex digits for every other byte, unless the host has a
        well-known name. A host with an empty label has none: its dots could be read as an escape.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or "" in parts.hostname.split("."):
            return ""
        known = self.token_names.get(parts.netloc.lower())
        return known or "GIT_TOKEN_" + "".join(_escape(byte) for byte in parts.netloc.lower().encode())

    def write_token_name(self, url: str) -> str:
        """Return the name of the secret that only the outbox uses; empty when no token may be sent."""
        before, _, after = self.token_name(url).partition("TOKEN")
        return f"{before}WRITE_TOKEN{after}" if before else ""

    def branch_ref(self, ref: str) -> str:
        """Return the full ref of a branch; a full ref and a full commit id stay as they are."""
        if ref.startswith("refs/") or COMMIT.fullmatch(ref):
            return ref
        return f"refs/heads/{ref}"

    def slug(self, url: str) -> str:
        """Return `owner/repo` for a URL, the directory's name for a path."""
        if url.startswith("/"):
            return url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git") or "root"
        return repository_path(url)


def host(url: str) -> str:
    """Return the host of a repository's address (URL or scp form), in lower case."""
    if "://" in url:
        return (urlsplit(url).hostname or "").lower()
    account = url.rpartition("]:")[0] or url.partition(":")[0]
    name = account.replace("[", "").rpartition("@")[2]
    return (name.partition(":")[0] if name.count(":") == 1 else name).lower()


def repository_path(url: str) -> str:
    """Return the path part of a repository's address: `owner/repo`."""
    path = urlsplit(url).path if "://" in url else url.rpartition("]")[2].partition(":")[2]
    return path.strip("/").removesuffix(".git")


def sibling_url(url: str, path: str) -> str:
    """Return the address of another repository of the same host, written like `url`.

    `path`: `owner/repo`; a forge's answer. Raises `ValueError` for anything else.
    """
    if not re.fullmatch(r"(?!.*\.\.)[\w.-]+(?:/[\w.-]+)+", path, re.ASCII):
        raise ValueError(f"{path!r} is no path of a repository")
    mine = repository_path(url)
    before, found, after = url.rpartition(mine)
    if not mine or not found:
        raise ValueError(f"{url} has no path")
    return f"{before}{path}{after}"


def _escape(byte: int) -> str:
    character = chr(byte)
    if character == ".":
        return "_"
    return character.upper() if character.isascii() and character.isalnum() else f"__{byte:02X}"


def repository_url(url: str) -> str:
    """Return the repository's page on the web."""
    return f"https://{host(url)}/{repository_path(url)}"
