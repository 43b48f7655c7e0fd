"""Finding workers, and saying what was seen of them."""

from __future__ import annotations

from collections.abc import Sequence

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from jobs.errors import NotFound
from jobs.models import Job, Worker
from jobs.providers.base import Problem
from jobs.states import WorkerState, worker_sources
from jobs.transitions import move_worker
from jobs.workers.connection import provider_of

LOCAL = "local"


def ensure_local_worker() -> Worker:
    """Return the row of this machine, making it at first use.

    When the configured root moved, the row follows as soon as no job's files are left at the old one.
    """
    root = settings.OFFLOAD.local_root
    worker, created = Worker.objects.get_or_create(name=LOCAL, defaults={"provider": "local", "root": root})
    if created or worker.state == WorkerState.ABSENT:
        move_worker(worker.id, WorkerState.READY, detail="This machine.")
        worker.refresh_from_db()
    if worker.root != root and not worker.jobs.filter(removed_at__isnull=True).exists():
        Worker.objects.filter(id=worker.id).update(root=root)
        worker.root = root
    return worker


def find_worker(name: str) -> Worker:
    """Return the worker called `name` (empty: the configured default). Raises `NotFound`."""
    name = name or settings.OFFLOAD.worker
    if name == LOCAL:
        return ensure_local_worker()
    try:
        return Worker.objects.get(name=name)
    except Worker.DoesNotExist:
        known = ", ".join([LOCAL, *Worker.objects.exclude(name=LOCAL).values_list("name", flat=True)])
        raise NotFound(
            f"There is no worker called {name!r}.", hint=f"Known workers: {known}. Add one with `fleet add`."
        ) from None


async def get_job(job_id: int) -> Job:
    """Return a job with its repository and worker. Raises `NotFound`."""
    try:
        return await Job.objects.select_related("repository", "worker", "pool").aget(id=job_id)
    except Job.DoesNotExist:
        raise NotFound(f"There is no job {job_id}.", hint="See `manage.py offload ls`.") from None


def _observe(worker_id: int, reachable: bool, detail: str) -> None:
    to = WorkerState.READY if reachable else WorkerState.UNREACHABLE
    # A machine that is on its way down may answer to the last.
    sources = worker_sources(to) - {WorkerState.STOPPING}
    if not move_worker(worker_id, to, detail=detail, sources=sources) and reachable:
        # No change of state; only the age of the observation is new.
        Worker.objects.filter(id=worker_id).update(observed_at=timezone.now())


observe_worker = sync_to_async(_observe)


async def check_worker(worker: Worker) -> Sequence[Problem]:
    """Look at what the worker's provider needs in order to work."""
    return await provider_of(worker).check()
