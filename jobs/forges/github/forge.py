"""Refs and pages of GitHub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from jobs.forges.base import Forge, host, repository_url


class GitHub(Forge):
    """Heads of pull requests are `refs/pull/N/head`, forks included."""

    kind: ClassVar[str] = "github"
    token_user: ClassVar[str] = "x-access-token"
    token_names: ClassVar[Mapping[str, str]] = {"github.com": "GITHUB_TOKEN"}

    def matches(self, url: str) -> bool:
        """Match github.com and hosts whose name starts with `github.`."""
        return host(url) == "github.com" or host(url).startswith("github.")

    def pull_ref(self, number: int) -> str:
        """Return `refs/pull/N/head`."""
        return f"refs/pull/{number}/head"

    def pull_url(self, url: str, number: int) -> str:
        """Return the pull request's page."""
        return f"{repository_url(url)}/pull/{number}"
