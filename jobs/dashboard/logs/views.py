"""A task's log: a window that loads parts as the page scrolls, search, and the download."""

from __future__ import annotations

from collections.abc import AsyncIterator

from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_GET

from jobs import execution
from jobs.dashboard.job.presenters import JobView
from jobs.dashboard.logs import ansi, window
from jobs.dashboard.pages import load_job, render_page
from jobs.errors import NotFound, OffloadError, TransportError, UsageError, WorkerUnavailable
from jobs.models import Job
from jobs.states import TaskState

RAW_PART = 4 * 1024 * 1024
LONGEST_SEARCH = 200
_UNFINISHED = (TaskState.RUNNING, TaskState.PENDING)


def _number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "0")
    return int(text) if text.isdigit() and len(text) < 16 else 0


class _Log:
    """One task's log: reads of it, its size, and its line counts."""

    def __init__(self, job: Job, task: str) -> None:
        self.job = job
        self.task = task
        found = next((item for item in job.tasks if item["id"] == task), None)
        if found is None:
            raise Http404(f"{job.session} has no task {task!r}.")
        self.running = job.is_active and found["state"] in _UNFINISHED
        self.counts = window.counts_of(job.id, task, str(found.get("started_at")))

    async def read(self, offset: int, limit: int) -> bytes:
        """Return at most `limit` bytes from an offset."""
        try:
            return await execution.read_log(self.job.id, self.task, offset, limit)
        except (UsageError, NotFound) as error:
            raise Http404(str(error)) from error

    async def part_at_end(self) -> window.Part:
        """Return the last part, with whole lines only while the task runs."""
        size = await execution.log_size(self.job.id, self.task)
        line = await self.counts.line_at(self.read, size)
        part = await window.read_backward(self.read, size, line)
        if self.running:
            part = window.Part(part.data[: part.data.rfind(b"\n") + 1], part.start, part.line)
        return part

    async def part(self, request: HttpRequest) -> window.Part:
        """Return the part that a request names: see `log_part`."""
        if request.GET.get("at") == "end":
            return await self.part_at_end()
        line = _number(request, "line")
        if before := _number(request, "before"):
            return await window.read_backward(self.read, before, line)
        if goto := _number(request, "goto"):
            offset, line = await self.counts.offset_of(self.read, goto)
            return await window.read_forward(self.read, offset, line)
        offset = _number(request, "offset")
        return await window.read_forward(self.read, offset, line if offset else 1, whole_lines=self.running)


def _render(part: window.Part) -> SafeString:
    """Return a part as one element for each line: its number, which links to it, and its text."""
    texts = ansi.render_lines(part.data.decode("utf-8", errors="replace").removesuffix("\n"))
    if not part.data:
        return SafeString("")
    rows = []
    for count, text in enumerate(texts):
        if part.line:
            number = part.line + count
            rows.append(
                f'<div class="log-line" id="L{number}"><a class="log-no" href="?line={number}" '
                f'aria-label="Line {number}" data-no="{number}"></a><span>{text}</span></div>'
            )
        else:
            rows.append(f'<div class="log-line"><span>{text}</span></div>')
    return mark_safe("".join(rows))  # noqa: S308


@require_GET
async def log_page(request: HttpRequest, job_id: int, task: str) -> HttpResponse:
    """Show the log of a task: from `?line=N`, else its end while it runs or if it failed, else its start."""
    job = await load_job(job_id)
    log = _Log(job, task)
    view = JobView.of(job)
    found = next(item for item in view.tasks if item.id == task)
    wanted = _number(request, "line")
    from_end = not wanted and (log.running or found.state == TaskState.FAILED)
    context: dict[str, object] = {
        "view": view, "job": job, "task": found, "running": log.running, "wanted": wanted,
        "from_end": from_end,
    }  # fmt: skip
    try:
        if wanted:
            # A few lines above the one that was linked to are shown with it.
            offset, line = await log.counts.offset_of(log.read, max(1, wanted - 10))
            part = await window.read_forward(log.read, offset, line)
        elif from_end:
            part = await log.part_at_end()
        else:
            part = await window.read_forward(log.read, 0, 1, whole_lines=log.running)
        context |= {"part": part, "lines": _render(part)}
    except (TransportError, WorkerUnavailable) as error:
        context |= {"error": error, "part": window.Part(b"", 0, 1)}
    return await render_page(request, "logs/log.html", context)


@require_GET
async def log_part(request: HttpRequest, job_id: int, task: str) -> HttpResponse:
    """Return a part of a log as HTML: `?offset=&line=`, `?before=&line=`, `?goto=LINE` or `?at=end`.

    Headers: `X-Start` and `X-End` (bytes), `X-Line` and `X-Next-Line` (0: unknown), `X-Running` (0 or 1).
    """
    log = _Log(await load_job(job_id), task)
    try:
        part = await log.part(request)
    except (TransportError, WorkerUnavailable) as error:
        return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")
    values = {
        "X-Start": part.start, "X-End": part.end, "X-Line": part.line, "X-Next-Line": part.next_line,
        "X-Running": int(log.running),
    }  # fmt: skip
    return HttpResponse(_render(part), headers={name: str(value) for name, value in values.items()})


@require_GET
async def log_search(request: HttpRequest, job_id: int, task: str) -> HttpResponse:
    """Return the lines that contain `?q=`, or with `?failure=1` the first line that looks like a failure."""
    log = _Log(await load_job(job_id), task)
    text = request.GET.get("q", "")[:LONGEST_SEARCH]
    wanted, most = window.FAILURE, 1
    if not request.GET.get("failure"):
        if not text:
            return JsonResponse({"hits": [], "resume": -1, "line": 0})
        wanted, most = window.find_text(text), window.HITS
    try:
        found = await window.search(
            log.read, wanted, _number(request, "offset"), _number(request, "line") or 1, most
        )
    except (TransportError, WorkerUnavailable) as error:
        return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")
    return JsonResponse(
        {
            "hits": [{"line": hit.line, "text": hit.text} for hit in found.hits],
            "resume": found.resume,
            "line": found.resume_line,
        }
    )


@require_GET
async def log_raw(request: HttpRequest, job_id: int, task: str) -> HttpResponseBase:
    """Download a log, byte for byte, part by part: on a bare worker it can be of any size."""
    log = _Log(await load_job(job_id), task)
    try:
        first = await log.read(0, RAW_PART)
    except OffloadError as error:
        return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")

    async def parts() -> AsyncIterator[bytes]:
        data, offset = first, 0
        while data:
            yield data
            offset += len(data)
            data = await log.read(offset, RAW_PART) if len(data) == RAW_PART else b""

    return StreamingHttpResponse(
        parts(),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="job-{job_id}-{task}.log"'},
    )
