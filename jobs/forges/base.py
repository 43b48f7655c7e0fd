"""The contract of a forge: what its addresses and refs look like. Pure."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit


class Forge(ABC):
    """One kind of place where pull requests live."""

    kind: ClassVar[str]
    # Who a token says it is, where the forge's own name for that is documented.
    token_user: ClassVar[str] = "git"
    # Host -> the name of the token that is meant for it.
    token_names: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def matches(self, url: str) -> bool:
        """Tell whether a repository's address is on such a forge."""

    @abstractmethod
    def pull_ref(self, number: int) -> str:
        """Return the full ref under which the forge publishes a pull request's head."""

    @abstractmethod
    def pull_url(self, url: str, number: int) -> str:
        """Return a pull request's page, or an empty text when there is none."""

    def token_name(self, url: str) -> str:
        """Return the name of the secret that opens a private repository; empty when none may be sent.

        Each host has a name of its own, so that no address can ask for another host's token:
        `GIT_TOKEN_<HOST>` (with `_` for what is neither letter nor digit) unless a well-known name is its.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            return ""
        known = self.token_names.get(parts.netloc.lower())
        return known or "GIT_TOKEN_" + re.sub(r"[^A-Z0-9]", "_", parts.netloc.upper())

    def branch_ref(self, ref: str) -> str:
        """Return the full ref of a branch; a full ref and a commit stay as they are."""
        if ref.startswith("refs/") or re.fullmatch(r"[0-9a-f]{40}", ref):
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
    return url.partition(":")[0].rpartition("@")[2].lower()


def repository_path(url: str) -> str:
    """Return the path part of a repository's address: `owner/repo`."""
    path = urlsplit(url).path if "://" in url else url.partition(":")[2]
    return path.strip("/").removesuffix(".git")


def page(url: str) -> str:
    """Return the repository's page on the web."""
    return f"https://{host(url)}/{repository_path(url)}"
