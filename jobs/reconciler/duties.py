"""What the reconciler does, one class per duty."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from jobs import outbox
from jobs.errors import OffloadError, TransportError, WorkerUnavailable
from jobs.execution.archive import archive
from jobs.execution.cancel import finish_cancel
from jobs.execution.follow import Reading
from jobs.execution.heads import check_heads
from jobs.execution.launch import launch, lease, lease_owner
from jobs.execution.machines import note_silence, resume_lost_jobs
from jobs.execution.pull_requests import refresh_inbox
from jobs.execution.requests import carry_out, requests_to_carry_out
from jobs.execution.scheduling import achoose_startable
from jobs.forges import registry
from jobs.models import Job, Repository, Worker
from jobs.providers.registry import CLOUDS
from jobs.reconciler.loop import Duty, Work
from jobs.reconciler.notices import Notices
from jobs.reconciler.pools import KeepPools
from jobs.remote.client import SILENT
from jobs.states import JOB_ENDED, Attention, JobState, RequestKind, WorkerState
from jobs.workers import connect, observe_worker
from jobs.workers.idle import read_idle
from jobs.workers.requests import POWER

log = logging.getLogger("offload.reconcile")

HEADS_SECONDS = 120.0
RULES_SECONDS = 3.0
# What pages show must be true within ten seconds.
MACHINE_SECONDS = 8.0
HEADS_AT_MOST = 50
PULLS_SECONDS = 300.0
# A worker that is back must be seen within ten seconds; the pool bounds how often it is really dialled.
FOLLOW_AGAIN_SECONDS = 4
SLOW_SECONDS = 6.0
_DOWN = (WorkerState.STOPPING, WorkerState.STOPPED, WorkerState.DELETING)


def _present_jobs() -> QuerySet[Job]:
    return Job.objects.filter(removed_at__isnull=True)


def _workers_up() -> QuerySet[Worker]:
    """Return the workers whose machine is not known to be down."""
    return Worker.objects.exclude(state__in=_DOWN).exclude(state=WorkerState.ABSENT, provider__in=CLOUDS)


class FollowWorkers(Duty):
    """Stream the journals of every job of a worker over one channel, and keep its rows true."""

    name = "follow"
    longest_backoff = FOLLOW_AGAIN_SECONDS

    async def find(self) -> AsyncIterator[Work]:
        """Return the workers that have jobs with files."""
        async for worker in _workers_up().filter(jobs__in=_present_jobs().exclude(worktree="")).distinct():
            yield Work(worker.id, partial(self._follow, worker))

    async def _follow(self, worker: Worker) -> None:
        reading = Reading(worker.id)
        slow = asyncio.create_task(self._report_slow(worker.id))
        try:
            async with connect(worker) as connection:
                since = await reading.load()
                async with aclosing(connection.client.follow(since)) as lines:
                    async for line in lines:
                        slow.cancel()
                        await reading.take(line)
                        if line["type"] == "synced":
                            await reading.missing()
                        if line["type"] == SILENT:
                            await note_silence(worker.id, "It has stopped answering.")
                        if line["type"] in ("synced", "ping"):
                            await observe_worker(worker.id, True, "Answered the reconcile loop.")
        except (TransportError, WorkerUnavailable) as error:
            if not await note_silence(worker.id, str(error)):
                raise
        finally:
            slow.cancel()

    async def _report_slow(self, worker_id: int) -> None:
        """Mark a worker that does not answer at all before every attempt to connect has timed out."""
        await asyncio.sleep(SLOW_SECONDS)
        await note_silence(worker_id, "It has not answered yet.")


class ObserveMachines(Duty):
    """Ask the provider about each machine that Offload made: it may be taken away, or turn itself off."""

    name = "machine"
    pause = MACHINE_SECONDS

    async def find(self) -> AsyncIterator[Work]:
        """Return the workers that have a machine at a provider."""
        async for worker in Worker.objects.filter(provider__in=CLOUDS).exclude(state=WorkerState.ABSENT):
            yield Work(worker.id, partial(self._observe, worker))

    async def _observe(self, worker: Worker) -> None:
        await resume_lost_jobs(worker)
        await read_idle(await Worker.objects.aget(id=worker.id))


class CarryOutRequests(Duty):
    """Carry out what pages and the API request."""

    name = "request"

    async def find(self) -> AsyncIterator[Work]:
        """Return the open requests; a later one for the same object cancels the work on an earlier one."""
        async for request in requests_to_carry_out():
            kind = "power" if RequestKind(request.kind) in POWER else request.kind
            key = (kind, request.worker_id, request.job_id)
            yield Work(key, partial(carry_out, request.id), version=request.id)


class LaunchJobs(Duty):
    """Launch jobs that are queued, and those whose launcher died."""

    name = "launch"

    async def find(self) -> AsyncIterator[Work]:
        """Return the jobs that no process launches and that have a free slot, the next one first."""
        unleased = Q(lease_owner="") | Q(lease_until__lt=timezone.now()) | Q(lease_until__isnull=True)
        waiting = _present_jobs().filter(unleased, state__in=[JobState.QUEUED, JobState.PREPARING])
        jobs = waiting.exclude(attention=Attention.APPROVAL).select_related("repository", "worker")
        for job in await achoose_startable([job async for job in jobs.defer("assessment", "findings")]):
            yield Work(job.id, partial(self._launch, job.id))

    async def _launch(self, job_id: int) -> None:
        # A job that can never run is `failed` on its row; only a broken connection is worth another try.
        try:
            await launch(job_id, keep_queued=True)
        except OffloadError as error:
            if error.retryable:
                raise
            log.warning("Launching job %s failed: %s", job_id, error)


class FinishCancellations(Duty):
    """Stop what runs for jobs that are being cancelled."""

    name = "cancel"

    async def find(self) -> AsyncIterator[Work]:
        """Return the jobs that are being cancelled."""
        async for job in _present_jobs().filter(state=JobState.CANCELLING).select_related("worker"):
            yield Work(job.id, partial(self._finish, job))

    async def _finish(self, job: Job) -> None:
        async with lease(job.id, lease_owner()) as ours:
            if ours:
                await finish_cancel(job)


class CheckHeads(Duty):
    """Check whether the heads of the newest jobs have moved, with one question for each repository."""

    name = "heads"
    pause = HEADS_SECONDS

    async def find(self) -> AsyncIterator[Work]:
        """Return one piece of work for all repositories."""
        yield Work(0, self._check)

    async def _check(self) -> None:
        jobs = _present_jobs().filter(ref__startswith="refs/").exclude(sha="")
        groups: dict[tuple[int, int], list[Job]] = {}
        async for job in jobs.select_related("repository", "worker").order_by("-created_at")[:HEADS_AT_MOST]:
            groups.setdefault((job.worker_id, job.repository_id), []).append(job)
        for group in groups.values():
            with contextlib.suppress(TransportError, WorkerUnavailable):
                await check_heads(group)


class ReadPulls(Duty):
    """Read the pull requests of repositories that have jobs from their forges."""

    name = "pulls"
    pause = PULLS_SECONDS

    async def find(self) -> AsyncIterator[Work]:
        """Return the repositories with jobs whose forge has a client."""
        async for repository in Repository.objects.filter(jobs__in=_present_jobs()).distinct():
            if registry.has_client(repository.forge):
                yield Work(repository.id, partial(self._read, repository))

    async def _read(self, repository: Repository) -> None:
        try:
            await refresh_inbox(repository)
        except OffloadError as error:
            # The rows stay as last read; a forge that refuses is not asked again before the pause is over.
            log.info("Reading the pull requests of %s failed: %s", repository, error)


class SendDrafts(Duty):
    """Send the drafts that a person said yes to on a page, one pull request at a time."""

    name = "outbox"

    async def find(self) -> AsyncIterator[Work]:
        """Return one piece of work for each pull request."""
        async for draft in outbox.waiting_groups():
            job = draft.job_id if draft.number is None else None
            yield Work((draft.repository_id, draft.number, job), partial(outbox.send_group, draft))


class ApplySendRules(Duty):
    """Draft and approve what the user's setting `auto_send` names."""

    name = "auto_send"
    pause = RULES_SECONDS

    async def find(self) -> AsyncIterator[Work]:
        """Return one piece of work, when there is a rule."""
        if rules := settings.OFFLOAD.auto_send:
            yield Work(0, partial(outbox.apply_rules, rules))


class ArchiveEvidence(Duty):
    """Copy the evidence of jobs that ended from the worker to this computer."""

    name = "archive"

    async def find(self) -> AsyncIterator[Work]:
        """Return the ended jobs whose evidence is only on the worker."""
        ended = _present_jobs().filter(
            state__in=JOB_ENDED, archived_at__isnull=True, worker__in=_workers_up()
        )
        async for job_id in ended.exclude(worktree="").values_list("id", flat=True):
            yield Work(job_id, partial(self._archive, job_id))

    async def _archive(self, job_id: int) -> None:
        await archive(job_id)


class NotifyUser(Duty):
    """Tell the user by the command of the setting `notify` what happens to jobs, one notice at a time."""

    name = "notify"

    def __init__(self) -> None:
        self._notices = Notices()

    async def find(self) -> AsyncIterator[Work]:
        """Return one piece of work for all notices that are to be sent."""
        if settings.OFFLOAD.notify:
            yield Work(0, self._send)

    async def _send(self) -> None:
        for notice in await self._notices.find():
            await self._notices.send(notice)


DUTIES: Sequence[Duty] = (
    FollowWorkers(),
    ObserveMachines(),
    CarryOutRequests(),
    LaunchJobs(),
    KeepPools(),
    FinishCancellations(),
    CheckHeads(),
    ReadPulls(),
    ApplySendRules(),
    SendDrafts(),
    ArchiveEvidence(),
    NotifyUser(),
)
