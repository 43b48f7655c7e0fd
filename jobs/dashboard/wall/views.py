"""The wall's page: a tile for each running session. Their pictures come over a WebSocket of its own."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Case, Q, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_GET

from jobs.dashboard.job.presenters import JobView
from jobs.models import Job
from jobs.serializers import is_out_of_reach
from jobs.states import Attention, JobState

MOST_TILES = 200


@dataclass(frozen=True)
class Tile:
    """A running session on the wall. `address`: where the real terminal is."""

    view: JobView
    address: str
    is_lost: bool


def _running() -> list[Job]:
    """Return the jobs whose session runs: at work, or an open shell; those that wait for a user first."""
    runs = Q(state__in=(JobState.RUNNING, JobState.CANCELLING)) | Q(state=JobState.SUCCEEDED, action="open")
    waits = Case(When(attention=Attention.NONE, then=Value(1)), default=Value(0))
    jobs = Job.objects.filter(runs, removed_at__isnull=True).exclude(worktree="").order_by(waits, "-id")
    return list(jobs.select_related("repository", "worker", "pool").defer("assessment", "findings"))


def _address(job: Job) -> str:
    try:
        return reverse("terminals:session", args=[job.id])
    except NoReverseMatch:
        return reverse("jobs:job", args=[job.id])


@require_GET
def wall(request: HttpRequest) -> HttpResponse:
    """Show the running sessions."""
    jobs = _running()
    tiles = [Tile(JobView.of(job), _address(job), is_out_of_reach(job)) for job in jobs[:MOST_TILES]]
    return render(request, "wall/wall.html", {"tiles": tiles, "more": len(jobs) - len(tiles)})
