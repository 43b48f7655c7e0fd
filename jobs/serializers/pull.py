"""THE JSON of a pull request, for every interface."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from jobs.models import PullRequest
from jobs.serializers.times import utc


class PullJson(TypedDict):
    """A pull request as last read from its forge; null when unknown.

    `details_sha`: the head that `mergeable` and what follows it are about; it can be older than `head_sha`.
    `checks`: name, outcome, required, url, said, workflow and log of each. `blocks`: what is in the way of
    merging, `unknown`: what the forge did not tell; these, `threads` (the unresolved ones), `reviews`,
    `rules` and `failures` (what logs of failed checks say, by the check's `log`) are null in lists.
    """

    repository: str
    number: int
    title: str
    author: str
    state: str
    draft: bool
    url: str | None
    labels: list[str]
    base_ref: str
    head_ref: str
    head_sha: str
    base_sha: str | None
    details_sha: str | None
    updated_at: str | None
    fetched_at: str
    mergeable: str | None
    checks: list[dict[str, Any]] | None
    unresolved_threads: int | None
    linked_issues: list[Any] | None
    additions: int | None
    deletions: int | None
    changed_files: int | None
    blocks: list[str] | None
    unknown: list[str] | None
    threads: list[dict[str, Any]] | None
    reviews: list[dict[str, Any]] | None
    rules: dict[str, Any] | None
    failures: dict[str, Any] | None


def pull_json(
    row: PullRequest, blocks: list[str] | None = None, unknown: list[str] | None = None
) -> PullJson:
    """Return a pull request as data, in full when `blocks` is given: what is in the way of merging."""
    known = row.details_at is not None
    return {
        "repository": row.repository.slug,
        "number": row.number,
        "title": row.title,
        "author": row.author,
        "state": row.state,
        "draft": row.draft,
        "url": row.url or None,
        "labels": row.labels,
        "base_ref": row.base_ref,
        "head_ref": row.head_ref,
        "head_sha": row.head_sha,
        "base_sha": row.base_sha or None,
        "details_sha": row.details_sha or None,
        "updated_at": utc(row.updated_at),
        "fetched_at": utc(row.fetched_at),
        "mergeable": row.mergeable if known else None,
        "checks": row.checks if known else None,
        "unresolved_threads": row.unresolved_threads,
        "linked_issues": row.linked_issues if known else None,
        "additions": row.additions if known else None,
        "deletions": row.deletions if known else None,
        "changed_files": row.changed_files if known else None,
        "blocks": blocks,
        "unknown": unknown,
        "threads": None if blocks is None else row.threads,
        "reviews": None if blocks is None else row.reviews,
        "rules": None if blocks is None else row.rules,
        "failures": None if blocks is None else row.failures,
    }
