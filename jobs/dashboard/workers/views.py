"""The workers page and its buttons, which write requests through `jobs.execution`."""

from __future__ import annotations

import asyncio

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jobs import execution, invocation, operations
from jobs.dashboard.pages import actor_of
from jobs.dashboard.workers.forms import AddWorkerForm
from jobs.dashboard.workers.load import PoolCard
from jobs.dashboard.workers.presenters import WorkerCard, html
from jobs.errors import OffloadError, Refused
from jobs.formats import format_money
from jobs.models import Job, JobEvent, Worker, WorkerRequest
from jobs.states import JOB_ACTIVE, JobState
from jobs.workers import find_worker
from jobs.workers.costs import Cost, cost_of
from jobs.workers.requests import latest_failure, open_requests

EVENTS = 12
ADD_SECONDS = 45.0
_RUNNING = frozenset({"booting", "ready", "stopping", "unreachable"})


async def _cost(worker: Worker) -> Cost | None:
    if worker.config.get("simulated"):
        return None
    try:
        return await cost_of(worker)
    except OffloadError:
        # The command line explains a configuration that the price table cannot read.
        return None


@sync_to_async
def _rows() -> list[tuple[Worker, list[Job], list[JobEvent], list[WorkerRequest], str]]:
    find_worker("local")
    found = []
    for worker in Worker.objects.select_related("pool"):
        # A queued job of a pool has no worker yet: the one in its row is a proposal.
        proposed = Q(state=JobState.QUEUED, pool__isnull=False, worktree="")
        jobs = worker.jobs.filter(~proposed, removed_at__isnull=True, state__in=JOB_ACTIVE)
        events = JobEvent.objects.filter(worker=worker).exclude(kind="done").order_by("-id")
        requests = list(open_requests().filter(worker=worker))
        failed = latest_failure(worker)
        found.append(
            (
                worker,
                list(jobs.select_related("repository", "worker")),
                list(events[:EVENTS]),
                requests,
                failed.error if failed is not None else "",
            )
        )
    return found


def _totals(costs: list[tuple[Worker, Cost]]) -> dict[str, object]:
    """Return the cost of all machines together, for each currency."""
    sums: dict[str, list[float]] = {}
    for worker, cost in costs:
        total = sums.setdefault(cost.price.currency, [0.0, 0.0])
        total[0] += cost.price.running if worker.state in _RUNNING else cost.price.stopped
        total[1] += cost.month
    return {
        "hour_now": " and ".join(format_money(total[0], unit) for unit, total in sums.items()),
        "month": " and ".join(format_money(total[1], unit) for unit, total in sums.items()),
    }


@require_GET
async def worker_list(request: HttpRequest) -> HttpResponse:
    """Show the pools, and the workers: state and reason, slots, jobs, when they stop, what they cost."""
    return await _list(request, AddWorkerForm())


async def _list(request: HttpRequest, form: AddWorkerForm, status: int = 200) -> HttpResponse:
    cards, costs = [], []
    for worker, jobs, events, requests, error in await _rows():
        cost = await _cost(worker)
        cards.append(WorkerCard.of(worker, jobs, events, cost, requests, error))
        if cost is not None and cost.hours:
            costs.append((worker, cost))
    pools = [await sync_to_async(PoolCard.of)(one) for one in await operations.list_pools()]
    context = {
        "cards": cards,
        "pools": pools,
        "totals": _totals(costs) if costs else None,
        "form": form,
        "provision": invocation.command("fleet provision NAME"),
    }
    return await sync_to_async(render)(request, "workers/workers.html", context, status=status)


@require_POST
async def worker_add(request: HttpRequest) -> HttpResponse:
    """Check an existing machine over ssh and add it as a worker."""
    form = AddWorkerForm(request.POST)
    if not form.is_valid():
        return await _list(request, form, 422)
    try:
        async with asyncio.timeout(ADD_SECONDS):
            added = await operations.add_worker(form.worker())
    except OffloadError as error:
        form.add_error(None, f"{error.message} {error.hint}".strip())
        return await _list(request, form, 422)
    except TimeoutError:
        form.add_error(None, f"The machine did not answer within {ADD_SECONDS:g} seconds. Check its address.")
        return await _list(request, form, 422)
    for problem in added.warnings:
        text = f"{problem.subject}: {problem.detail} {problem.remedy}"
        await sync_to_async(messages.add_message)(request, messages.WARNING, text)
    text = f"{added.worker.name} was added."
    for pin in added.new_pins:
        text += f" First contact: {pin.name} has the host key {pin.key.fingerprint} ({pin.key.kind})."
    if added.new_pins:
        text += " Compare it on the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
    return await _back(request, messages.SUCCESS, text)


async def _load(name: str) -> Worker:
    try:
        return await Worker.objects.aget(name=name)
    except Worker.DoesNotExist:
        raise Http404(f"There is no worker called {name}.") from None


async def _back(request: HttpRequest, level: int, text: str) -> HttpResponse:
    """Return to the page that sent the form, a job's or the workers page, with a message."""
    await sync_to_async(messages.add_message)(request, level, text)
    job = request.POST.get("job", "")
    known = job.isdigit() and len(job) < 16 and await Job.objects.filter(id=int(job)).aexists()
    return HttpResponseRedirect(reverse("jobs:job", args=[job]) if known else reverse("jobs:workers"))


@require_POST
async def worker_keep(request: HttpRequest, name: str) -> HttpResponse:
    """Request that a machine is kept up for some hours; the reconciler tells the machine."""
    worker = await _load(name)
    try:
        hours = float(request.POST.get("hours", ""))
    except ValueError:
        return await _back(request, messages.ERROR, "The number of hours is missing.")
    try:
        until = await execution.request_keep(worker, hours, actor_of(request))
    except OffloadError as error:
        return await _back(request, messages.ERROR, str(error))
    if not hours:
        return await _back(request, messages.SUCCESS, f"{name} is no longer kept up; it stops when idle.")
    text = html([f"{name} will be kept up until ", until, "."])
    return await _back(request, messages.SUCCESS, text)


@require_http_methods(["GET", "POST"])
async def worker_start(request: HttpRequest, name: str) -> HttpResponse:
    """Say what a machine costs, then request its start."""
    worker = await _load(name)
    if request.method == "GET":
        return await _confirm(request, worker, "start")
    try:
        await execution.request_start(worker, actor_of(request))
    except OffloadError as error:
        return await _back(request, messages.ERROR, str(error))
    return await _back(request, messages.SUCCESS, f"Starting {name}. Its row shows how far it is.")


@require_http_methods(["GET", "POST"])
async def worker_rebuild(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for confirmation, then request that a machine is made again. Jobs at work need a second one."""
    worker = await _load(name)
    if request.method == "GET":
        return await _confirm(request, worker, "rebuild")
    force = request.POST.get("force") == "yes"
    try:
        await execution.request_rebuild(worker, actor_of(request), force=force)
    except OffloadError as error:
        if not force and await execution.busy_jobs(worker):
            return await _confirm(request, worker, "rebuild", 409)
        return await _back(request, messages.ERROR, str(error))
    return await _back(request, messages.SUCCESS, f"Rebuilding {name}. Its row shows how far it is.")


async def _confirm(request: HttpRequest, worker: Worker, verb: str, status: int = 200) -> HttpResponse:
    """Show what a verb does to a machine, with its price and the jobs that it interrupts."""
    cost = await _cost(worker)
    context = {
        "worker": worker,
        "verb": verb,
        "busy": await execution.busy_jobs(worker) if verb == "rebuild" else [],
        "price": operations.describe_price(cost.price) if cost else "",
        "job": request.GET.get("job", "") or request.POST.get("job", ""),
    }
    return await sync_to_async(render)(request, f"workers/{verb}_worker.html", context, status=status)


@require_http_methods(["GET", "POST"])
async def worker_stop(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for confirmation, then request the stop of a machine. Jobs at work need a second confirmation."""
    worker = await _load(name)
    force = request.POST.get("force") == "yes"
    if request.method == "POST":
        try:
            await execution.request_stop(worker, actor_of(request), force=force)
        except Refused as error:
            if not await execution.busy_jobs(worker):
                return await _back(request, messages.ERROR, str(error))
        except OffloadError as error:
            return await _back(request, messages.ERROR, str(error))
        else:
            return await _back(request, messages.SUCCESS, f"Stopping {name}. Its disks stay.")
    busy = await execution.busy_jobs(worker)
    context = {"worker": worker, "busy": busy}
    status = 409 if request.method == "POST" else 200
    return await sync_to_async(render)(request, "workers/stop_worker.html", context, status=status)
