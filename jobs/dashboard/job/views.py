"""The dashboard's pages: they read rows, and write intent through `jobs.execution`."""

from __future__ import annotations

from pathlib import Path

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jobs import execution, serializers
from jobs.dashboard.changes import presenters
from jobs.dashboard.inbox.forms import LaunchForm
from jobs.dashboard.job.presenters import JobView, event_text, markdown, sections
from jobs.dashboard.logs import ansi
from jobs.dashboard.workers.presenters import KEEP_HOURS, JobCostView, StopView
from jobs.errors import NotFound, OffloadError, Refused, TransportError, UsageError, WorkerUnavailable
from jobs.forges.target import parse_target
from jobs.models import Job, JobEvent
from jobs.states import JOB_ACTIVE
from jobs.workers import find_worker
from jobs.workers.costs import cost_of_job

LIST_ENDED = 50
TIMELINE = 200
LOG_PART = 256 * 1024
RAW_PART = 4 * 1024 * 1024


def actor_of(request: HttpRequest) -> str:
    """Return who asks, as the record names them."""
    return f"{request.user.get_username()} (dashboard)"


@sync_to_async
def _load(job_id: int) -> Job:
    try:
        return Job.objects.select_related("repository", "worker").get(id=job_id)
    except Job.DoesNotExist:
        raise Http404(f"There is no job {job_id}.") from None


def _listed() -> list[Job]:
    jobs = Job.objects.select_related("repository", "worker").defer("assessment")
    present = jobs.filter(removed_at__isnull=True)
    open_jobs = [*present.filter(state__in=JOB_ACTIVE)]
    ended = [*jobs.exclude(state__in=JOB_ACTIVE)[:LIST_ENDED]]
    return sorted([*open_jobs, *ended], key=lambda job: (job.created_at, job.id), reverse=True)


def _list_context() -> dict[str, object]:
    return {"sections": sections(_listed())}


@require_GET
def job_list(request: HttpRequest) -> HttpResponse:
    """Show every job, what needs you first, and the launch form."""
    find_worker("local")
    form = LaunchForm(initial={"action": request.GET.get("action", "review")})
    return render(request, "jobs/list.html", {**_list_context(), "form": form})


@require_GET
def job_list_live(request: HttpRequest) -> HttpResponse:
    """Return the list's part that changes."""
    return render(request, "jobs/_sections.html", _list_context())


_FIELD_OF_ERROR = (("worker", NotFound), ("target", UsageError))


@require_http_methods(["GET", "POST"])
async def launch(request: HttpRequest) -> HttpResponse:
    """Write the wish for a job; the reconcile loop launches it."""
    if request.method == "GET":
        return HttpResponseRedirect(reverse("jobs:list"))
    form = await sync_to_async(LaunchForm)(request.POST)
    if await sync_to_async(form.is_valid)():
        job, created = await _submit(request, form)
        if job is not None:
            if not created:
                await sync_to_async(messages.info)(request, "This job exists already; here it is.")
            address = reverse("jobs:job", args=[job.id])
            if request.headers.get("HX-Request"):
                return HttpResponse(status=204, headers={"HX-Redirect": address})
            return HttpResponseRedirect(address)
    if request.headers.get("HX-Request"):
        return await sync_to_async(render)(request, "jobs/_launch.html", {"form": form}, status=422)
    context = await sync_to_async(_list_context)()
    return await sync_to_async(render)(request, "jobs/list.html", {**context, "form": form}, status=422)


async def _submit(request: HttpRequest, form: LaunchForm) -> tuple[Job | None, bool]:
    """Submit what the form asks for. An error ends up at the field that it is about."""
    data = form.cleaned_data
    field = "target"
    try:
        target = parse_target(data["target"])
        field = "repository"
        repository = await execution.resolve_repository(target.repository or data["repository"], Path.cwd())
        field = "worker"
        worker = await sync_to_async(find_worker)(data["worker"])
        placed = await execution.place(repository, worker)
        exposed = placed.worker.provider == "local" and not placed.worker.config.get("container")
        if exposed and not execution.is_trusted(repository):
            if not data["trust"]:
                form.ask_trust = True
                raise Refused(
                    f"{repository.url} is not trusted yet: its pull requests' code would run as you. "
                    f"{placed.why}".rstrip(),
                    hint="Tick the box below if you trust everyone who can open a pull request there.",
                )
            await execution.trust(repository.id, actor_of(request))
        field = "name" if data["name"] else "target"
        return await execution.submit(
            execution.JobRequest(
                repository=repository,
                target=target,
                action=data["action"],
                name=data["name"],
                worker=data["worker"],
                agent=data["agent"],
                actor=actor_of(request),
            )
        )
    except OffloadError as error:
        form.refuse("trust" if form.ask_trust else field, error.message, error.hint)
        return None, False


def _terminal_url(job: Job) -> str:
    try:
        return reverse("terminals:session", args=[job.id])
    except NoReverseMatch:
        return ""


async def _cost(job: Job) -> JobCostView | None:
    try:
        cost = await cost_of_job(job)
    except OffloadError:
        return None
    return JobCostView.of(cost) if cost is not None else None


def _job_context(job: Job, cost: JobCostView | None) -> dict[str, object]:
    stop = StopView.of(job.worker) if job.removed_at is None else None
    events = list(JobEvent.objects.filter(job=job).order_by("-id")[:TIMELINE])
    return {
        "view": JobView.of(job),
        "job": job,
        "commands": serializers.commands_for(job),
        "terminal_url": _terminal_url(job),
        "timeline": [(event, event_text(event)) for event in events],
        "assessment": markdown(job.assessment) if job.assessment else "",
        "cost": cost,
        "keep_hours": KEEP_HOURS,
        "stop": stop if stop is not None and stop.ends else None,
    }


@require_GET
async def job_page(request: HttpRequest, job_id: int) -> HttpResponse:
    """Show one job: verdict, evidence, tasks, what happened, and what to type."""
    job = await _load(job_id)
    context = await sync_to_async(_job_context)(job, await _cost(job))
    return await sync_to_async(render)(request, "jobs/job.html", context)


@require_GET
async def job_live(request: HttpRequest, job_id: int) -> HttpResponse:
    """Return the part of a job's page that changes."""
    job = await _load(job_id)
    context = await sync_to_async(_job_context)(job, await _cost(job))
    return await sync_to_async(render)(request, "jobs/_job.html", context)


@require_GET
async def job_diff(request: HttpRequest, job_id: int) -> HttpResponse:
    """Show the change under review."""
    job = await _load(job_id)
    try:
        diff, error = presenters.parse(await execution.diff(job_id)), None
    except OffloadError as failure:
        diff, error = presenters.Diff([]), failure
    context = {"view": JobView.of(job), "job": job, "diff": diff, "error": error}
    return await sync_to_async(render)(request, "jobs/diff.html", context)


async def _act(request: HttpRequest, job_id: int, done: str) -> HttpResponse:
    await sync_to_async(messages.success)(request, done)
    return HttpResponseRedirect(reverse("jobs:job", args=[job_id]))


async def _failed(request: HttpRequest, job_id: int, error: OffloadError) -> HttpResponse:
    await sync_to_async(messages.error)(request, str(error))
    return HttpResponseRedirect(reverse("jobs:job", args=[job_id]))


@require_POST
async def job_cancel(request: HttpRequest, job_id: int) -> HttpResponse:
    """Write the wish to cancel; the reconcile loop stops what runs, and verifies it."""
    await _load(job_id)
    try:
        await execution.request_cancel(job_id, actor_of(request))
    except OffloadError as error:
        return await _failed(request, job_id, error)
    return await _act(request, job_id, "Cancelling. The page says so when everything has stopped.")


@require_POST
async def job_resume(request: HttpRequest, job_id: int) -> HttpResponse:
    """Write the wish to go on at the first unfinished task."""
    await _load(job_id)
    if not await execution.resume(job_id, actor_of(request)):
        return await _failed(request, job_id, Refused("There is nothing to resume: the job has moved on."))
    return await _act(request, job_id, "Queued again. It goes on at the first unfinished task.")


@require_POST
async def job_trust(request: HttpRequest, job_id: int) -> HttpResponse:
    """Take the answer to the question of trust; the reconcile loop then launches what waited for it."""
    job = await _load(job_id)
    await execution.trust(job.repository_id, actor_of(request))
    return await _act(request, job_id, f"{job.repository} is trusted from now on.")


@require_http_methods(["GET", "POST"])
async def job_remove(request: HttpRequest, job_id: int) -> HttpResponse:
    """Ask first; then remove the job's files, unless that would lose work. Force is a second question."""
    job = await _load(job_id)
    force = request.POST.get("force") == "yes"
    refusal: OffloadError | None = None
    if request.method == "POST":
        try:
            removal = await execution.remove(job_id, force=force, actor=actor_of(request))
        except Refused as error:
            refusal = error
        except OffloadError as error:
            return await _failed(request, job_id, error)
        else:
            rescued = f" Unsaved work was rescued to {removal.bundle}." if removal.bundle else ""
            return await _act(request, job_id, f"Removed from {job.worker}.{rescued}")
    context = {"view": JobView.of(job), "job": job, "refusal": refusal}
    return await sync_to_async(render)(
        request, "jobs/remove.html", context, status=409 if refusal is not None else 200
    )


async def _read(job_id: int, task: str, offset: int, limit: int) -> bytes:
    try:
        return await execution.read_log(job_id, task, offset, limit)
    except (UsageError, NotFound) as error:
        raise Http404(str(error)) from error


def _offset(request: HttpRequest) -> int:
    text = request.GET.get("offset", "0")
    return int(text) if text.isdigit() and len(text) < 16 else 0


def _whole_lines(data: bytes, *, more: bool) -> bytes:
    """Return the data up to its last line end, so that no character or colour is cut in two."""
    if not more:
        return data
    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    return data[:end] if end else data


@require_GET
async def task_log(request: HttpRequest, job_id: int, task: str) -> HttpResponse:
    """Show a task's log; the page reads it piece by piece, and follows it while the task runs."""
    job = await _load(job_id)
    view = JobView.of(job)
    found = next((item for item in view.tasks if item.id == task), None)
    if found is None:
        raise Http404(f"{job.session} has no task {task!r}.")
    context = {"view": view, "job": job, "task": found, "following": found.state == "running"}
    try:
        data = await _read(job_id, task, 0, LOG_PART)
        shown = _whole_lines(data, more=len(data) == LOG_PART)
        context |= {"log": mark_safe(_html(shown)), "offset": len(shown)}  # noqa: S308
    except (TransportError, WorkerUnavailable) as error:
        context |= {"error": error, "offset": 0}
    return await sync_to_async(render)(request, "jobs/log.html", context)


def _html(data: bytes) -> str:
    return ansi.to_html(data.decode("utf-8", errors="replace"))


@require_GET
async def task_log_part(request: HttpRequest, job_id: int, task: str) -> HttpResponse:
    """Return the next piece of a log as HTML. Headers: `X-Offset` (the next one), `X-Running`, `X-More`."""
    job = await _load(job_id)
    running = job.is_active and any(
        item["id"] == task and item["state"] in ("running", "pending") for item in job.tasks
    )
    offset = _offset(request)
    try:
        data = await _read(job_id, task, offset, LOG_PART)
    except (TransportError, WorkerUnavailable) as error:
        return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")
    full = len(data) == LOG_PART
    shown = _whole_lines(data, more=full or running)
    # A line without an end is shown once it has one, or once nothing more can come.
    if running and not full and not shown.endswith((b"\n", b"\r")):
        shown = b""
    headers = {"X-Offset": str(offset + len(shown)), "X-Running": str(int(running)), "X-More": str(int(full))}
    return HttpResponse(_html(shown), headers=headers)


@require_GET
async def task_log_raw(request: HttpRequest, job_id: int, task: str) -> HttpResponse:
    """Download a log, byte for byte."""
    await _load(job_id)
    parts: list[bytes] = []
    offset = 0
    while True:
        try:
            data = await _read(job_id, task, offset, RAW_PART)
        except OffloadError as error:
            return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")
        parts.append(data)
        offset += len(data)
        if len(data) < RAW_PART:
            break
    return HttpResponse(
        b"".join(parts),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="job-{job_id}-{task}.log"'},
    )
