"""The page of a job's diff."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from jobs import execution
from jobs.dashboard.changes.presenters import EMPTY, MAX_BYTES, parse_diff
from jobs.dashboard.job.presenters import JobView
from jobs.dashboard.pages import load_job, render_page
from jobs.errors import OffloadError


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    return int(text) if text.isdigit() and len(text) < 7 else 1


@require_GET
async def job_diff(request: HttpRequest, job_id: int) -> HttpResponse:
    """Show one page of the change under review."""
    job = await load_job(job_id)
    error: OffloadError | None = None
    diff = EMPTY
    try:
        data = await execution.diff(job_id, limit=MAX_BYTES + 1)
        diff = await sync_to_async(parse_diff)(data, _page_number(request))
    except OffloadError as failure:
        error = failure
    context: dict[str, object] = {"view": JobView.of(job), "job": job, "diff": diff, "error": error}
    return await render_page(request, "changes/diff.html", context)
