"""Any git repository: a directory, or a server without pages of its own."""

from __future__ import annotations

from typing import ClassVar

from jobs.forges.base import Forge


class Plain(Forge):
    """Refs by GitHub's convention, which Gitea and Forgejo share; no pages."""

    kind: ClassVar[str] = "plain"

    def matches(self, url: str) -> bool:
        """Match everything: the last resort."""
        return True

    def pull_ref(self, number: int) -> str:
        """Return `refs/pull/N/head`."""
        return f"refs/pull/{number}/head"

    def pull_url(self, url: str, number: int) -> str:
        """Return nothing: there is no page that we know of."""
        return ""
