"""The page of a job's diff."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from jobs import execution
from jobs.dashboard.changes.presenters import EMPTY, MAX_BYTES, Note, parse_diff
from jobs.dashboard.job.presenters import JobView
from jobs.dashboard.pages import load_job, render_page
from jobs.dashboard.present import SEVERITIES
from jobs.errors import OffloadError
from jobs.models import Job


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    return int(text) if text.isdigit() and len(text) < 7 else 1


def _notes(job: Job) -> list[Note]:
    """Return the findings that name a file."""
    found = []
    for number, finding in enumerate(job.findings):
        line = finding.get("line")
        severity = str(finding.get("severity") or "note")
        tone = SEVERITIES.get(severity, ("", "quiet"))[1]
        if path := str(finding.get("file") or ""):
            message = str(finding.get("message") or "")
            found.append(Note(number, path, line if isinstance(line, int) else 0, severity, tone, message))
    return found


@require_GET
async def job_diff(request: HttpRequest, job_id: int) -> HttpResponse:
    """Show one page of the change under review."""
    job = await load_job(job_id)
    error: OffloadError | None = None
    diff, shown = EMPTY, None
    try:
        data = await execution.diff(job_id, limit=MAX_BYTES + 1)
        notes = _notes(job)
        wanted = request.GET.get("finding", "")
        shown = next((note for note in notes if str(note.number) == wanted), None)
        diff = await sync_to_async(parse_diff)(data, _page_number(request), notes, shown)
    except OffloadError as failure:
        error = failure
    inside = shown is not None and any(entry.path == shown.path for entry in diff.entries)
    context: dict[str, object] = {
        "view": JobView.of(job), "job": job, "diff": diff, "error": error,
        "elsewhere": None if inside else shown,
    }  # fmt: skip
    return await render_page(request, "changes/diff.html", context)
