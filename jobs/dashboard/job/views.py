"""A job's page and its buttons. The buttons write requests through `jobs.execution`; the reconciler acts."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jobs import execution, outbox, serializers
from jobs.dashboard.job.chart import Chart
from jobs.dashboard.job.evidence import load_evidence
from jobs.dashboard.job.markdown import render_markdown
from jobs.dashboard.job.presenters import JobView, event_text
from jobs.dashboard.outbox.presenters import DraftView
from jobs.dashboard.pages import actor_of, load_job, render_page
from jobs.dashboard.workers.presenters import KEEP_HOURS, JobCostView, StopView
from jobs.errors import OffloadError, Refused
from jobs.models import Draft, Job, JobEvent, WorkerRequest
from jobs.serializers import is_out_of_reach
from jobs.states import DraftKind, DraftState
from jobs.workers.costs import cost_of_job

TIMELINE = 200
MOST_SIBLINGS = 10
DRAFTS = 20
WORKING = ("fix", "implement", "open")  # actions whose worktree is to be worked in


def _terminal_url(job: Job) -> str:
    try:
        return reverse("terminals:session", args=[job.id])
    except NoReverseMatch:
        return ""


async def _present_cost(job: Job) -> JobCostView | None:
    try:
        cost = await cost_of_job(job)
    except OffloadError:
        return None
    return JobCostView.of(cost) if cost is not None else None


async def _load_context(job_id: int) -> dict[str, object]:
    job = await load_job(job_id)
    removal = await execution.removal_of(job) if job.removed_at is None else None
    context = await sync_to_async(_job_context)(job, await _present_cost(job), removal)
    account = await execution.read_account(job) if job.options.get("agent") else None
    agent = account.agent if account else None
    words = agent.value.replace("_", " ") if agent else ""
    return {**context, "agent": agent, "agent_words": words, "no_input": account.no_input if account else "-"}


def _drafts_of(job: Job) -> list[Draft]:
    return list(job.drafts.exclude(state=DraftState.DROPPED).order_by("-id")[:DRAFTS])


def _job_context(job: Job, cost: JobCostView | None, removal: WorkerRequest | None) -> dict[str, object]:
    stop = StopView.of(job.worker) if job.removed_at is None else None
    events = list(JobEvent.objects.filter(job=job).order_by("-id")[:TIMELINE])
    view = JobView.of(job)
    # Nothing is known of a task since its worker was seen last.
    chart = Chart.of(job.tasks, (job.observed_at if is_out_of_reach(job) else None) or timezone.now())
    return {
        "view": view,
        "chart": chart,
        "tasks": [(task, chart.bars.get(task.id) if chart else None) for task in view.tasks],
        "path": [task.name for id in (chart.path if chart else ()) for task in view.tasks if task.id == id],
        "job": job,
        "commands": serializers.commands_for(job),
        "isolation": serializers.isolation_text(job),
        "agent_key": serializers.agent_key_text(job),
        "terminal_url": _terminal_url(job),
        "evidence": load_evidence(job),
        "siblings": _siblings(job),
        "timeline": [(event, event_text(event)) for event in events],
        "assessment": render_markdown(job.assessment) if job.assessment else "",
        "drafts": [DraftView(draft) for draft in _drafts_of(job)],
        "can_draft": job.number is not None and bool(job.assessment and job.sha),
        "can_push": _has_work(job),
        "can_open_pull": bool(job.options.get("branch") and job.fixed_sha) and job.removed_at is None,
        "cost": cost,
        "removal": removal,
        "keep_hours": KEEP_HOURS,
        "stop": stop if stop is not None and stop.ends else None,
    }


def _has_work(job: Job) -> bool:
    """Return whether the worktree of a pull request's job is there to work in."""
    return job.number is not None and job.removed_at is None and bool(job.worktree) and job.action in WORKING


def _siblings(job: Job) -> list[JobView]:
    """Return the other jobs of the same target, the newest first: earlier attempts and other actions."""
    others = Job.objects.filter(repository=job.repository, target=job.target).exclude(id=job.id)
    loaded = others.select_related("repository", "worker", "pool").defer("assessment", "findings")
    return [JobView(other) for other in loaded.order_by("-id")[:MOST_SIBLINGS]]


@require_GET
async def job_page(request: HttpRequest, job_id: int) -> HttpResponse:
    """Show one job: reason, verdict, findings, tasks, assessment, commands and events."""
    return await render_page(request, "job/job.html", await _load_context(job_id))


@require_GET
async def job_live(request: HttpRequest, job_id: int) -> HttpResponse:
    """Return the part of a job's page that changes."""
    return await render_page(request, "job/_job.html", await _load_context(job_id))


def _back(job_id: int) -> HttpResponse:
    return HttpResponseRedirect(reverse("jobs:job", args=[job_id]))


async def _show_error(request: HttpRequest, job_id: int, error: OffloadError) -> HttpResponse:
    await sync_to_async(messages.error)(request, str(error))
    return _back(job_id)


@require_POST
async def job_cancel(request: HttpRequest, job_id: int) -> HttpResponse:
    """Request the cancellation of a job. The page's state shows how far it is; no message repeats it."""
    await load_job(job_id)
    try:
        await execution.request_cancel(job_id, actor_of(request))
    except OffloadError as error:
        return await _show_error(request, job_id, error)
    return _back(job_id)


@require_POST
async def job_answer(request: HttpRequest, job_id: int) -> HttpResponse:
    """Type what a form says to the agent that waits in the job's pane: the question that it shows."""
    await load_job(job_id)
    given = {name: request.POST.get(name, "") for name in ("answer", "text", "about")}
    try:
        await execution.answer_agent(
            job_id, given["answer"], given["text"], actor_of(request), about=given["about"]
        )
    except OffloadError as error:
        return await _show_error(request, job_id, error)
    return _back(job_id)


@require_POST
async def job_resume(request: HttpRequest, job_id: int) -> HttpResponse:
    """Queue a job again: it continues at its first unfinished task. The page's state shows it."""
    await load_job(job_id)
    if not await execution.resume(job_id, actor_of(request)):
        return await _show_error(
            request, job_id, Refused("There is nothing to resume: the job's state has changed.")
        )
    return _back(job_id)


@require_POST
async def job_again(request: HttpRequest, job_id: int) -> HttpResponse:
    """Request that a job runs again, on the head as it is then."""
    await load_job(job_id)
    try:
        await execution.request_again(job_id, actor_of(request))
    except OffloadError as error:
        if request.headers.get("HX-Request"):
            return HttpResponse(str(error), status=409, content_type="text/plain")
        return await _show_error(request, job_id, error)
    if request.headers.get("HX-Request"):
        return HttpResponse("It runs again soon.", content_type="text/plain")
    return HttpResponseRedirect(reverse("jobs:list"))


@require_POST
async def job_draft(request: HttpRequest, job_id: int) -> HttpResponse:
    """Make a draft of a review from the job's assessment, or of what its commits are to become; show it.

    Nothing is posted.
    """
    job = await load_job(job_id)
    try:
        if request.POST.get("kind") == DraftKind.PUSH:
            draft = await outbox.make_push(job, actor_of(request))
        elif request.POST.get("kind") == DraftKind.PULL_REQUEST:
            draft = await outbox.make_pull(job, actor_of(request))
        else:
            draft = await outbox.make_review(job, "COMMENT", actor_of(request))
    except OffloadError as error:
        return await _show_error(request, job_id, error)
    return HttpResponseRedirect(reverse("jobs:outbox-group", args=[draft.id]))


@require_POST
async def job_trust(request: HttpRequest, job_id: int) -> HttpResponse:
    """Record the trust in a job's repository; the reconciler then launches the jobs that waited for it."""
    job = await load_job(job_id)
    await execution.trust(job.repository_id, actor_of(request))
    await sync_to_async(messages.success)(request, f"{job.repository} is trusted from now on.")
    return _back(job_id)


@require_http_methods(["GET", "POST"])
async def job_remove(request: HttpRequest, job_id: int) -> HttpResponse:
    """Ask for confirmation, then request the removal of the job's files. Its page shows what comes of it."""
    job = await load_job(job_id)
    force = request.POST.get("force") == "yes"
    refusal: OffloadError | None = None
    if request.method == "POST":
        try:
            await execution.request_removal(job_id, actor_of(request), force=force)
        except Refused as error:
            refusal = error
        except OffloadError as error:
            return await _show_error(request, job_id, error)
        else:
            return _back(job_id)
    context: dict[str, object] = {"view": JobView.of(job), "job": job, "refusal": refusal}
    return await render_page(request, "job/remove.html", context, status=409 if refusal is not None else 200)
