"""The recording of a session: its page and the asciicast."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from jobs import execution
from jobs.dashboard.job.presenters import JobView
from jobs.dashboard.pages import load_job, render_page
from jobs.errors import NotFound, OffloadError


@require_GET
async def recording_page(request: HttpRequest, job_id: int) -> HttpResponse:
    """Show a player with the tasks as markers, and a search in the recorded text."""
    job = await load_job(job_id)
    return await render_page(request, "recording/recording.html", {"job": job, "view": JobView.of(job)})


@require_GET
async def recording_file(request: HttpRequest, job_id: int) -> HttpResponse:
    """Return the recording itself, an asciicast of version 2."""
    await load_job(job_id)
    try:
        data = await execution.read_recording(job_id)
    except OffloadError as error:
        status = 404 if isinstance(error, NotFound) else 503
        return HttpResponse(str(error), status=status, content_type="text/plain; charset=utf-8")
    return HttpResponse(
        data,
        content_type="application/x-asciicast",
        headers={"Content-Disposition": f'inline; filename="job-{job_id}.cast"'},
    )
