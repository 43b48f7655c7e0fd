"""Refs and pages of Bitbucket.

Data Center publishes the head of a pull request as `refs/pull-requests/N/from`. Bitbucket Cloud publishes no
refs of pull requests: a review there names the branch.
"""

from __future__ import annotations

from typing import ClassVar

from jobs.forges.base import Forge, host, repository_path, repository_url


class Bitbucket(Forge):
    """Heads of pull requests are `refs/pull-requests/N/from`."""

    kind: ClassVar[str] = "bitbucket"
    token_user: ClassVar[str] = "x-token-auth"

    def matches(self, url: str) -> bool:
        """Match bitbucket.org and hosts whose name starts with `bitbucket.`."""
        return host(url).startswith("bitbucket.")

    def pull_ref(self, number: int) -> str:
        """Return `refs/pull-requests/N/from`."""
        return f"refs/pull-requests/{number}/from"

    def pull_url(self, url: str, number: int) -> str:
        """Return the pull request's page."""
        path = repository_path(url)
        if path.startswith("scm/") and path.count("/") == 2:
            _, project, name = path.split("/")
            return f"https://{host(url)}/projects/{project}/repos/{name}/pull-requests/{number}"
        return f"{repository_url(url)}/pull-requests/{number}"
