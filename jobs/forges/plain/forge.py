"""Refs of any other git repository."""

from __future__ import annotations

from typing import ClassVar

from jobs.forges.base import Forge


class Plain(Forge):
    """Heads of pull requests as Gitea and Forgejo publish them, which is GitHub's way; no pages."""

    kind: ClassVar[str] = "plain"

    def matches(self, url: str) -> bool:
        """Match every address: it is tried last."""
        return True

    def pull_ref(self, number: int) -> str:
        """Return `refs/pull/N/head`."""
        return f"refs/pull/{number}/head"

    def pull_url(self, url: str, number: int) -> str:
        """Return an empty text: the page is unknown."""
        return ""
