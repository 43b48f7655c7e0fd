"""What the views of all pages share: the job by its id, the actor, rendering from async code."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from jobs.models import Job


def actor_of(request: HttpRequest) -> str:
    """Return the actor that events name for this request."""
    return f"{request.user.get_username()} (dashboard)"


async def load_job(job_id: int) -> Job:
    """Return a job with its repository and worker. Raises `Http404`."""
    try:
        return await Job.objects.select_related("repository", "worker", "pool").aget(id=job_id)
    except Job.DoesNotExist:
        raise Http404(f"There is no job {job_id}.") from None


async def render_page(
    request: HttpRequest, template: str, context: dict[str, object], status: int = 200
) -> HttpResponse:
    """Render a template in a thread: templates may query the database."""
    return await sync_to_async(render)(request, template, context, status=status)
