"""Refs and pages of GitLab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from jobs.forges.base import Forge, host, repository_url


class GitLab(Forge):
    """Heads of merge requests are `refs/merge-requests/N/head`."""

    kind: ClassVar[str] = "gitlab"
    token_user: ClassVar[str] = "oauth2"
    token_names: ClassVar[Mapping[str, str]] = {"gitlab.com": "GITLAB_TOKEN"}

    def matches(self, url: str) -> bool:
        """Match gitlab.com and hosts whose name starts with `gitlab.`."""
        return host(url) == "gitlab.com" or host(url).startswith("gitlab.")

    def pull_ref(self, number: int) -> str:
        """Return `refs/merge-requests/N/head`."""
        return f"refs/merge-requests/{number}/head"

    def pull_url(self, url: str, number: int) -> str:
        """Return the merge request's page."""
        return f"{repository_url(url)}/-/merge_requests/{number}"
