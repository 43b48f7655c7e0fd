"""The inbox and the form that submits a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseRedirect,
    JsonResponse,
    QueryDict,
)
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jobs import execution, operations
from jobs.dashboard.inbox import choices
from jobs.dashboard.inbox.forms import POOL, LaunchForm
from jobs.dashboard.inbox.presenters import Filters, Inbox
from jobs.dashboard.inbox.rows import known_versions, render_groups
from jobs.dashboard.pages import actor_of, render_page
from jobs.errors import OffloadError, Refused
from jobs.forges import registry
from jobs.forges.target import parse_target
from jobs.models import Job, PullRequest, Repository, Worker
from jobs.states import Verdict
from jobs.workers import find_worker

MOST_ROWS = 1000
MOST_TARGETS = 200
# Hours in the form -> hours; the words are the template's.
DEFAULT_SNOOZE = 24
SNOOZE_HOURS: Mapping[str, int] = {"4": 4, "24": DEFAULT_SNOOZE, "168": 168}


def _inbox_context(request: HttpRequest) -> dict[str, object]:
    known = list(Repository.objects.values_list("slug", "forge"))
    inbox = Inbox.load(Filters.from_query(request.GET))
    return {
        "inbox": inbox,
        "groups": render_groups(inbox),
        "repositories": [slug for slug, _ in known],
        "reads_pulls": any(registry.has_client(forge) for _, forge in known),
        "workers": list(Worker.objects.values_list("name", flat=True)),
        "verdicts": [(verdict.value, verdict.value.replace("_", " ")) for verdict in Verdict if verdict],
    }


@require_GET
def job_list(request: HttpRequest) -> HttpResponse:
    """Show the jobs in groups, and the form for a new one."""
    find_worker("local")
    form = LaunchForm(initial={"action": request.GET.get("action", "review")})
    return render(request, "inbox/list.html", {**_inbox_context(request), "form": form})


@require_GET
def job_list_live(request: HttpRequest) -> HttpResponse:
    """Return the part of the inbox that changes, without the rows that the page has as they are."""
    inbox = Inbox.load(Filters.from_query(request.GET))
    groups = render_groups(inbox, known_versions(request))
    return render(request, "inbox/_groups.html", {"inbox": inbox, "groups": groups})


def _read_key(key: str) -> operations.InboxRow | None:
    repository, _, target = key.partition(":")
    return operations.InboxRow(int(repository), target) if re.fullmatch("[0-9]{1,18}", repository) else None


@require_POST
def mark_rows(request: HttpRequest) -> HttpResponse:
    """Mark rows as done, snooze them, or bring them back: one row, or those that are selected."""
    action = next((name for name in ("done", "snooze", "restore") if request.POST.get(name)), "")
    named = request.POST.get(action, "")
    keys = request.POST.getlist("row")[:MOST_ROWS] if named == "selected" else [named]
    rows = [row for row in map(_read_key, keys) if row is not None]
    seen = request.POST.get("seen", "")
    actor = actor_of(request)
    if not action or not re.fullmatch("[0-9]{1,18}", seen):
        return HttpResponseBadRequest("The form is not complete.")
    if action == "restore":
        count = operations.restore_rows(rows, actor)
    elif action == "done":
        count = operations.dismiss_rows(rows, int(seen), actor)
    else:
        hours = SNOOZE_HOURS.get(request.POST.get("hours", ""), DEFAULT_SNOOZE)
        until = timezone.now() + timedelta(hours=hours)
        count = operations.dismiss_rows(rows, int(seen), actor, until=until)
    if request.headers.get("HX-Request"):
        return HttpResponse(status=204, headers={"X-Count": str(count)})
    filters = Filters.from_query(QueryDict(request.POST.get("query", "").removeprefix("?")[:2000]))
    return HttpResponseRedirect(reverse("jobs:list") + filters.query())


@require_POST
async def review_rows(request: HttpRequest) -> HttpResponse:
    """Submit a review of each selected pull request; one that has its review already keeps it."""
    keys = request.POST.getlist("row")[:MOST_ROWS]
    rows = [row for row in map(_read_key, keys) if row is not None and row.target.startswith("#")]
    wanted = Repository.objects.filter(id__in={row.repository_id for row in rows})
    slugs = {repository.id: repository.slug async for repository in wanted}
    count, refusals = 0, []
    for row in rows:
        if row.repository_id not in slugs:
            continue
        new = operations.NewJob(row.target, repository=slugs[row.repository_id])
        try:
            _, created = await operations.submit_job(new, actor_of(request))
        except OffloadError as error:
            refusals.append(str(error))
        else:
            count += created
    # One refusal is often that of all: the repository is not trusted.
    text = " ".join([f"{count} review{'' if count == 1 else 's'} submitted.", *dict.fromkeys(refusals)])
    return await _answer(request, text, failed=bool(refusals))


@require_POST
async def read_pulls(request: HttpRequest) -> HttpResponse:
    """Read the pull requests of all repositories from their forges."""
    warnings: list[str] = []
    await operations.refresh_inbox(warnings.append)
    text = " ".join(warnings) or "The pull requests are as their forges have them."
    return await _answer(request, text, failed=bool(warnings))


async def _answer(request: HttpRequest, text: str, *, failed: bool) -> HttpResponse:
    """Say what came of a form: in the open page, or after a return to it."""
    if request.headers.get("HX-Request"):
        return HttpResponse(text, status=409 if failed else 200, content_type="text/plain")
    await sync_to_async(messages.add_message)(request, messages.ERROR if failed else messages.SUCCESS, text)
    return HttpResponseRedirect(reverse("jobs:list"))


@require_GET
def launch_targets(request: HttpRequest) -> JsonResponse:
    """Return the open pull requests that the form offers; of one repository if it is named."""
    pulls = PullRequest.objects.filter(state="open").order_by("-number", "-id")
    if slug := request.GET.get("repository", ""):
        pulls = pulls.filter(repository__slug=slug)
    columns = ("repository__slug", "number", "title", "author")
    rows = pulls.values_list(*columns)[:MOST_TARGETS]
    found = [
        {"repository": slug, "number": number, "title": title, "author": author}
        for slug, number, title, author in rows
    ]
    return JsonResponse({"pulls": found})


@require_GET
async def launch_choices(request: HttpRequest) -> JsonResponse:
    """Return what the form says of each worker, pool and agent: how busy they are, and what they cost."""
    return JsonResponse(
        {
            "worker": {
                **await choices.describe_workers(),
                **{f"{POOL}{name}": text for name, text in (await choices.describe_pools()).items()},
            },
            "agent": dict(await choices.describe_agents()),
        }
    )


@require_http_methods(["GET", "POST"])
async def launch(request: HttpRequest) -> HttpResponse:
    """Submit a job; the reconciler launches it."""
    if request.method == "GET":
        return HttpResponseRedirect(reverse("jobs:list"))
    data = request.POST
    if row := _read_key(data.get("pull", "")):  # the button of a row: a review of its pull request
        repository = await sync_to_async(get_object_or_404)(Repository, id=row.repository_id)
        data = QueryDict(urlencode({"target": row.target, "repository": repository.slug, "action": "review"}))
    form = await sync_to_async(LaunchForm)(data)
    if await sync_to_async(form.is_valid)():
        job, created = await _submit(request, form)
        if job is not None:
            if not created:
                await sync_to_async(messages.info)(request, "This job exists already.")
            address = reverse("jobs:job", args=[job.id])
            if request.headers.get("HX-Request"):
                return HttpResponse(status=204, headers={"HX-Redirect": address})
            return HttpResponseRedirect(address)
    if request.headers.get("HX-Request"):
        return await render_page(request, "inbox/_launch.html", {"form": form}, status=422)
    context = await sync_to_async(_inbox_context)(request)
    return await render_page(request, "inbox/list.html", {**context, "form": form}, status=422)


async def _submit(request: HttpRequest, form: LaunchForm) -> tuple[Job | None, bool]:
    """Submit the form's job; return it and whether it is new. An error is shown at its field."""
    data = form.cleaned_data
    field = "target"
    try:
        target = parse_target(data["target"])
        field = "repository"
        repository = await execution.resolve_repository(target.repository or data["repository"], Path.cwd())
        field = "worker"
        placed = await execution.place_request(repository, **form.place)
        if placed.needs_trust:
            if not data["trust"]:
                form.ask_trust = True
                raise Refused(
                    f"{repository.url} is not trusted yet: its pull requests' code would run as you. "
                    f"{placed.why}".rstrip(),
                    hint="Tick the box below if you trust everyone who can open a pull request there.",
                )
            await execution.trust(repository.id, actor_of(request))
        field = "secrets" if form.secret_names else "name" if data["name"] else "target"
        return await execution.submit(
            execution.JobRequest(
                repository=repository,
                target=target,
                action=data["action"],
                name=data["name"],
                worker=form.place["worker"],
                agent=data["agent"],
                prompt=data["prompt"],
                secrets=form.secret_names,
                actor=actor_of(request),
                batch=True,
                placed=placed,
            )
        )
    except OffloadError as error:
        form.show_error("trust" if form.ask_trust else field, error.message, error.hint)
        return None, False
