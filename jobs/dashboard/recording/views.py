"""The replay of a session: page and asciicast. A URL namespace of its own, for its own content policy."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from jobs import execution
from jobs.dashboard.job.presenters import JobView
from jobs.errors import NotFound, OffloadError
from jobs.models import Job


async def _load(job_id: int) -> Job:
    try:
        return await Job.objects.select_related("repository", "worker").aget(id=job_id)
    except Job.DoesNotExist:
        raise Http404(f"There is no job {job_id}.") from None


@require_GET
async def recording_page(request: HttpRequest, job_id: int) -> HttpResponse:
    """Replay a job's session: seek by task, search in what was shown."""
    job = await _load(job_id)
    context = {"job": job, "view": JobView.of(job)}
    return await sync_to_async(render)(request, "jobs/recording.html", context)


@require_GET
async def recording_file(request: HttpRequest, job_id: int) -> HttpResponse:
    """Return the recording itself, an asciicast of version 2."""
    await _load(job_id)
    try:
        data = await execution.read_recording(job_id)
    except NotFound as error:
        return HttpResponse(str(error), status=404, content_type="text/plain; charset=utf-8")
    except OffloadError as error:
        return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")
    return HttpResponse(
        data,
        content_type="application/x-asciicast",
        headers={"Content-Disposition": f'inline; filename="job-{job_id}.cast"'},
    )


app_name = "recordings"
urlpatterns = [
    path("jobs/<int:job_id>/recording/", recording_page, name="page"),
    path("jobs/<int:job_id>/recording.cast", recording_file, name="file"),
]
