"""The terminal's page, and files in and out of the job's worktree."""

from __future__ import annotations

import mimetypes
import posixpath

from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import get_script_prefix, reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_POST, require_safe

from jobs import workers
from jobs.errors import NotFound, OffloadError, Refused, UsageError
from jobs.workers import Kind
from terminals.consumers import DRIVE_PERMISSION, WATCH_PERMISSION
from terminals.frames import MAX_INPUT


@require_safe
@login_required
@permission_required(WATCH_PERMISSION, raise_exception=True)
def page(request: HttpRequest, job_id: int, kind: Kind) -> HttpResponse:
    """Show a terminal. Everything else happens in its script and over its WebSocket."""
    try:
        job = async_to_sync(workers.terminal_job)(job_id)
    except NotFound as error:
        return render(request, "terminals/missing.html", {"error": error}, status=404)
    settings = {
        "job": job_id,
        "kind": kind,
        "session": job.session,
        "title": job.label,
        "worker": job.worker,
        "socket": f"{get_script_prefix()}ws/terminals/{job_id}/{kind}/",
        "remedies": reverse("terminals:remedies", args=[job_id]),
        "upload": reverse("terminals:upload", args=[job_id]),
        "download": reverse("terminals:download", args=[job_id]),
        "watch": request.GET.get("mode") == "watch" or not request.user.has_perm(DRIVE_PERMISSION),
        "frame": MAX_INPUT // 4,
    }
    other = "terminals:session" if kind == "shell" else "terminals:shell"
    context = {"job": job, "kind": kind, "settings": settings, "other": reverse(other, args=[job_id])}
    return render(request, "terminals/terminal.html", context)


@require_GET
@login_required
@permission_required(DRIVE_PERMISSION, raise_exception=True)
def remedies(request: HttpRequest, job_id: int) -> JsonResponse:
    """Return the addresses that resume the job and start its machine, for a terminal that is gone."""
    try:
        job = async_to_sync(workers.terminal_job)(job_id)
    except NotFound as error:
        return _refusal(error)
    start = reverse("jobs:worker-start", args=[job.worker])
    return JsonResponse(
        {
            "resume": reverse("jobs:resume", args=[job_id]) if job.can_resume else "",
            "start": f"{start}?job={job_id}" if job.can_start else "",
        }
    )


@require_POST
@login_required
@permission_required(DRIVE_PERMISSION, raise_exception=True)
def upload(request: HttpRequest, job_id: int) -> JsonResponse:
    """Put one file into the job's worktree; answer the name it got."""
    file = request.FILES.get("file")
    if file is None or isinstance(file, list):
        return _refusal(UsageError("No file was sent.", hint="Send it as the form field `file`."))
    try:
        name = async_to_sync(workers.upload_file)(job_id, file.name or "", file.read())
    except OffloadError as error:
        return _refusal(error)
    return JsonResponse({"name": name, "bytes": file.size})


@require_GET
@login_required
@permission_required(WATCH_PERMISSION, raise_exception=True)
def download(request: HttpRequest, job_id: int) -> HttpResponse:
    """Return one file of the job's worktree, always as a download: it is not ours, so it is never shown."""
    path = request.GET.get("path", "")
    try:
        data = async_to_sync(workers.download_file)(job_id, path)
    except OffloadError as error:
        return _refusal(error)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    response = HttpResponse(data, content_type=kind)
    response.headers["X-Content-Type-Options"] = "nosniff"
    header = content_disposition_header(as_attachment=True, filename=posixpath.basename(path))
    response.headers["Content-Disposition"] = header or "attachment"
    return response


_STATUS: dict[type[OffloadError], int] = {NotFound: 404, Refused: 403, UsageError: 400}


def _refusal(error: OffloadError) -> JsonResponse:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 502)
    body = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    return JsonResponse(body, status=status)
