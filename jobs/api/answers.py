"""The envelope of each answer. What is inside is the JSON of `jobs.serializers`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from jobs.serializers import (
    AccountJson,
    DraftJson,
    ErrorJson,
    EventJson,
    JobCostJson,
    JobJson,
    PreviewJson,
    PullJson,
    RemovalJson,
    WorkerJson,
)

Schema = Literal["offload/1"]

# PostgreSQL stores no NUL. Twelve digits are more than any id here has.
Text = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Id = Annotated[int, Field(ge=0, le=10**12 - 1)]
Limit = Annotated[int, Field(ge=1, le=100, description="At most so many.")]


class ErrorAnswer(TypedDict):
    """The answer to a request that failed."""

    schema: Schema
    error: ErrorJson


class JobAnswer(TypedDict):
    """One job."""

    schema: Schema
    job: JobJson


class StatusAnswer(TypedDict):
    """One job, an estimate of what it has cost, its pull request, and why that may be out of date.

    `why`: what its state is known from, and what its agent does.
    """

    schema: Schema
    job: JobJson
    cost: JobCostJson | None
    pull_request: PullJson | None
    why: AccountJson
    warnings: list[str]


class RemovalAnswer(TypedDict):
    """The last request to remove a job; null when there was none."""

    schema: Schema
    removal: RemovalJson | None


class JobsAnswer(TypedDict):
    """Jobs, newest first. `next`: the `before` of the next page; null at the end."""

    schema: Schema
    jobs: list[JobJson]
    next: int | None


class EventsAnswer(TypedDict):
    """Events, oldest first. `next`: the `after` of the next page; null when there is no newer event."""

    schema: Schema
    events: list[EventJson]
    next: int | None


class WorkerAnswer(TypedDict):
    """One worker."""

    schema: Schema
    worker: WorkerJson


class WorkersAnswer(TypedDict):
    """Every worker."""

    schema: Schema
    workers: list[WorkerJson]


class PullsAnswer(TypedDict):
    """Open pull requests, the last changed first. `warnings`: why they may be out of date."""

    schema: Schema
    pull_requests: list[PullJson]
    warnings: list[str]


class DraftAnswer(TypedDict):
    """One draft."""

    schema: Schema
    draft: DraftJson


class PreviewedDraftJson(DraftJson):
    """A draft with the review exactly as it would appear now."""

    preview: PreviewJson


class PreviewAnswer(TypedDict):
    """One draft and its preview."""

    schema: Schema
    draft: PreviewedDraftJson


class DraftsAnswer(TypedDict):
    """The drafts that were neither sent nor dropped."""

    schema: Schema
    drafts: list[DraftJson]
