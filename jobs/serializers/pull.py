"""THE JSON of a pull request, for every interface."""

from __future__ import annotations

from typing import Any

from jobs.models import PullRequest
from jobs.serializers.times import utc


def pull_json(row: PullRequest, blocks: list[str] | None = None) -> dict[str, Any]:
    """Return a pull request as data. `blocks`: what is in the way of merging; null when not asked for."""
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
    }
