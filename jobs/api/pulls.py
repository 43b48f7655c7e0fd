"""Pull requests: list."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from jobs.api.access import needs
from jobs.api.answers import Id, Limit, PullsAnswer, Text
from jobs.operations import list_pulls_of_known
from jobs.serializers import SCHEMA, pull_json
from jobs.states import Scope

router = Router(tags=["pull requests"])


class PullQuery(Schema):
    """Which pull requests to list."""

    repository: Text = Field(description="Slug, short name or URL of a repository with jobs.")
    limit: Limit = 50
    skip: Id = Field(0, description="Leave out so many at the start.")


@router.get("", auth=needs(Scope.READ), response={200: PullsAnswer}, summary="List open pull requests")
async def list_pulls(request: HttpRequest, query: Query[PullQuery]) -> PullsAnswer:
    """Return the open pull requests of a repository, the last changed first."""
    warnings: list[str] = []
    rows = await list_pulls_of_known(query.repository, warnings.append)
    shown = [pull_json(row) for row in rows[query.skip : query.skip + query.limit]]
    return {"schema": SCHEMA, "pull_requests": shown, "warnings": warnings}
