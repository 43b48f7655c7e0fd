"""Which queued job is next, and which worker it gets.

The jobs of one pool, or of one worker, form a queue: a job that a person waits for comes before a batch
job, then the older one first. A worker takes as many jobs as it has slots (`jobs.workers.capacity`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from jobs.execution.placement import Exposure, assess_exposure
from jobs.models import Job, Pool, Worker
from jobs.states import JobState, Reason, WorkerDesired, WorkerState
from jobs.transitions import move_job, note_waiting
from jobs.workers.capacity import UNKNOWN_SLOTS, capacity_of, slots_of
from jobs.workers.pools import claim_worker, workers_to_make

AT_WORK = (JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING)
# A batch job that waits for so long counts as one that a user waits for: no stream of others starves it.
PATIENCE = timedelta(minutes=10)
_Rank = tuple[bool, datetime, int]


@dataclass
class _Queue:
    """The workers that a job may get, and who is at work there. `makable`: slots of workers to be made."""

    workers: Sequence[Worker]
    pool: Pool | None = None
    busy: Counter[int] = field(default_factory=Counter)
    makable: int = 0

    def free(self, worker: Worker) -> int:
        """Return how many further jobs may be at work on a worker."""
        at_work = self.busy[worker.id]
        measured = capacity_of(worker) if at_work else None
        if measured is not None and measured.is_short_of_memory:
            return 0
        return max(0, slots_of(worker) - at_work)

    def room(self) -> int:
        """Return how many further jobs may be at work in all."""
        return sum(map(self.free, self.workers)) + self.makable

    def take(self) -> Worker:
        """Return the worker that the next job gets: one that is up, with the largest part free.

        There must be room. Where only a worker that is to be made has it, that one is claimed.
        """
        free = [worker for worker in self.workers if self.free(worker)]
        if not free and self.pool is not None:
            return claim_worker(self.pool)
        return max(free, key=self._preference)

    def _preference(self, worker: Worker) -> tuple[bool, float, float]:
        measured = capacity_of(worker)
        slots = self.free(worker) / slots_of(worker)
        return (worker.state == WorkerState.READY, slots, measured.free_share if measured else 0.0)

    def explain(self) -> str:
        """Return why a job waits."""
        at_work = sum(self.busy.values())
        if self.pool is None:
            return f"{at_work} jobs are at work on this worker; the limit is {slots_of(self.workers[0])}."
        if not self.workers and not self.makable:
            return f"The pool {self.pool} has no worker that may run it."
        limit = f", which may have {self.pool.maximum}" if self.pool.provider else ""
        return f"{at_work} jobs are at work in the pool {self.pool} of {len(self.workers)} workers{limit}."


def _is_bound(job: Job) -> bool:
    """Return whether the job can run on its worker only: it names one, or has files there."""
    return job.pool_id is None or bool(job.worktree)


def _queue_of(job: Job, *, lock: bool = False) -> _Queue:
    """Return the queue of a job. `lock`: hold its rows (the pool's first) until the transaction ends."""
    rows = Worker.objects.select_related("pool")
    pool = None
    if lock:
        # The locks make the count and the move one step on PostgreSQL; SQLite's immediate transactions do
        # it by themselves.
        if job.pool_id is not None:
            pool = Pool.objects.select_for_update().get(id=job.pool_id)
        rows = rows.select_for_update(of=("self",))
    elif job.pool_id is not None:
        pool = Pool.objects.get(id=job.pool_id)
    if pool is None or _is_bound(job):
        workers = list(rows.filter(id=job.worker_id))
        return _Queue(workers, busy=_busy(workers))
    members = list(rows.filter(pool=pool).order_by("id"))
    workers = [
        one
        for one in members
        if one.desired != WorkerDesired.GONE
        and one.state != WorkerState.UNREACHABLE
        and assess_exposure(job.repository, one) is not Exposure.UNTRUSTED
    ]
    makable = workers_to_make(pool, members) * _slots_of_new(pool, members)
    return _Queue(workers, pool, _busy(workers), makable)


def _slots_of_new(pool: Pool, members: Sequence[Worker]) -> int:
    """Return how many jobs a worker that is to be made is expected to take: as many as one like it."""
    alike = (one for one in members if one.provider == pool.provider and capacity_of(one) is not None)
    return pool.jobs_per_worker or next((slots_of(one) for one in alike), UNKNOWN_SLOTS)


def _busy(workers: Iterable[Worker]) -> Counter[int]:
    at_work = Job.objects.filter(worker__in=workers, removed_at__isnull=True, state__in=AT_WORK)
    counts = at_work.order_by().values_list("worker").annotate(Count("id"))
    return Counter(dict(counts))


def _rank(job: Job, now: datetime) -> _Rank:
    return (job.batch and now - job.created_at < PATIENCE, job.created_at, job.id)


def _queued(job: Job) -> QuerySet[Job]:
    """Return the queued jobs of the same queue, the job itself included."""
    queued = Job.objects.filter(removed_at__isnull=True, state=JobState.QUEUED)
    if _is_bound(job):
        tied = Q(pool__isnull=True) | ~Q(worktree="")
        return queued.filter(tied, worker_id=job.worker_id)
    return queued.filter(pool=job.pool, worktree="")


def admit(job_id: int) -> bool:
    """Move a job to `preparing` on the worker that it gets; return False when it has to wait.

    A job that is `preparing` already (its launcher died) keeps its slot. Jobs that come before it and are
    being launched have a slot before it has one.
    """
    now = timezone.now()
    with transaction.atomic():
        job = Job.objects.select_related("repository", "worker").get(id=job_id)
        queue = _queue_of(job, lock=True)
        job = Job.objects.select_related("repository", "worker").get(id=job_id)
        if job.state == JobState.PREPARING:
            return True
        if job.state != JobState.QUEUED:
            return False
        own = _rank(job, now)
        launched = _queued(job).filter(lease_until__gt=now)
        ahead = sum(_rank(one, now) < own for one in launched)
        if ahead >= queue.room():
            note_waiting([job.id], queue.explain())
            return False
        worker = queue.take()
        # Not a job that a stop interrupted in the meantime: only a new command resumes that.
        queued = frozenset({JobState.QUEUED})
        return move_job(
            job_id, JobState.PREPARING, reason=Reason.LAUNCHING, sources=queued, worker_id=worker.id
        )


def choose_startable(waiting: Sequence[Job]) -> list[Job]:
    """Return those of the jobs that no process launches which can start now, the next one first.

    The others are marked as waiting for a slot. Jobs that are `preparing` have one.
    """
    now = timezone.now()
    startable = [job for job in waiting if job.state == JobState.PREPARING]
    queued: dict[str, list[Job]] = defaultdict(list)
    for job in waiting:
        if job.state == JobState.QUEUED:
            name = f"worker {job.worker_id}" if _is_bound(job) else f"pool {job.pool_id}"
            queued[name].append(job)
    for jobs in queued.values():
        queue = _queue_of(jobs[0])
        jobs.sort(key=lambda job: _rank(job, now))
        launched = _queued(jobs[0]).filter(lease_until__gt=now).count()
        room = max(0, queue.room() - launched)
        startable += jobs[:room]
        unsaid = [job.id for job in jobs[room:] if job.reason != Reason.WAITING_FOR_SLOT]
        if unsaid:
            note_waiting(unsaid, queue.explain())
    return startable


def count_ahead(job: Job) -> int:
    """Return how many queued jobs of the same queue come before a job."""
    now = timezone.now()
    own = _rank(job, now)
    return sum(_rank(one, now) < own for one in _queued(job))


def list_workers(job: Job) -> list[int]:
    """Return the ids of the workers on which jobs of the same queue are at work."""
    queue = _queue_of(job)
    return [worker.id for worker in queue.workers if queue.busy[worker.id]]


alist_workers = sync_to_async(list_workers)
aadmit = sync_to_async(admit)
achoose_startable = sync_to_async(choose_startable)
acount_ahead = sync_to_async(count_ahead)
