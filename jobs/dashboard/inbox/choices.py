"""Load and price of each worker, pool and agent, in words, for the form of a new job. Decides nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import median

from asgiref.sync import sync_to_async
from django.db.models import Count, Q

from jobs import operations
from jobs.agents import registry as agents
from jobs.errors import OffloadError
from jobs.formats import format_money
from jobs.models import Job, JobEvent, Worker
from jobs.operations import PoolOverview
from jobs.states import JOB_ACTIVE, JobState, WorkerState
from jobs.workers.capacity import capacity_of, slots_of
from jobs.workers.costs import price_of

RECENT_JOBS = 20  # of an agent: what its price is told from
_BUSY = JOB_ACTIVE - {JobState.QUEUED}


async def describe_workers() -> dict[str, str]:
    """Return each worker's name with its state, free slots, load and price."""
    here = Q(jobs__removed_at__isnull=True)
    rows = Worker.objects.select_related("pool").annotate(
        busy=Count("jobs", filter=here & Q(jobs__state__in=_BUSY)),
        waiting=Count("jobs", filter=here & Q(jobs__state=JobState.QUEUED)),
    )
    return {worker.name: await _describe(worker, worker.busy, worker.waiting) async for worker in rows}


async def _describe(worker: Worker, busy: int, waiting: int) -> str:
    slots = slots_of(worker)
    words = [str(worker.state), f"{max(0, slots - busy)} of {slots} slots free"]
    if waiting:
        words.append(f"{waiting} waiting")
    measured = capacity_of(worker)
    if measured is not None and measured.load is not None and worker.state == WorkerState.READY:
        words.append(f"load {measured.load:.1f} on {measured.cores:g} cores")
    if worker.config.get("simulated"):
        words.append("simulated, costs nothing")
    else:
        try:
            price = await price_of(worker)
        except OffloadError:
            price = None  # its configuration is explained where it is changed
        if price is not None:
            words.append(f"about {format_money(price.running, price.currency)} an hour")
    return f"{worker.name}: {', '.join(words)}"


async def describe_pools() -> dict[str, str]:
    """Return each pool's name with its free slots, waiting jobs and price."""
    return {one.pool.name: _describe_pool(one) for one in await operations.list_pools()}


def _describe_pool(one: PoolOverview) -> str:
    words = [f"{max(0, one.slots - one.at_work)} of {one.slots} slots free"]
    if one.queued:
        words.append(f"{one.queued} waiting")
    if one.pool.price:
        words.append(f"about {format_money(one.pool.price, 'USD')} an hour for each machine")
    return f"any worker of {one.pool.name}: {', '.join(words)}"


@sync_to_async
def describe_agents() -> Mapping[str, str]:
    """Return each agent's name with its jobs at work, and what its last jobs used."""
    jobs = Job.objects.exclude(options__agent=None).order_by("-id")
    recent: dict[str, list[int]] = defaultdict(list)
    for name, id in jobs.values_list("options__agent", "id")[: RECENT_JOBS * len(agents.NAMES)]:
        recent[name].append(id)
    at_work = Job.objects.filter(state__in=_BUSY, removed_at__isnull=True)
    busy = dict(at_work.values_list("options__agent").annotate(Count("id")))
    return {name: _describe_agent(name, busy.get(name, 0), recent[name]) for name in agents.NAMES}


def _describe_agent(name: str, busy: int, jobs: list[int]) -> str:
    tokens: dict[int, float] = defaultdict(float)
    dollars: dict[int, float] = defaultdict(float)
    calls = JobEvent.objects.filter(job_id__in=jobs[:RECENT_JOBS], kind="model_call")
    for job, data in calls.values_list("job_id", "data"):
        tokens[job] += (data.get("input") or 0) + (data.get("output") or 0)
        if data.get("dollars"):
            dollars[job] += data["dollars"]
    words = [f"{busy} job{'' if busy == 1 else 's'} at work"] if busy else []
    if tokens:
        words.append(f"about {_thousands(median(tokens.values()))} tokens a job")
    if dollars:
        words.append(f"about {format_money(median(dollars.values()), 'USD')} a job")
    return f"{name}: {', '.join(words)}" if words else name


def _thousands(count: float) -> str:
    return f"{count:.0f}" if count < 1000 else f"{count / 1000:.0f}k"
