"""From intent to a running session.

Two round trips: `prepare` (fetch, worktree, facts) and `start` (plan, tmux session). Both are idempotent
on the worker, so a launcher that dies at any point is simply followed by another.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.conf import settings

from jobs.errors import NotFound, OffloadError, Refused, TransportError, UsageError, WorkerUnavailable
from jobs.execution import git_bundle, secrets
from jobs.execution.apply import aapply_start
from jobs.execution.follow import refresh_worker
from jobs.execution.forge_facts import read_forge_facts, read_issue
from jobs.execution.machines import note_silence, wake
from jobs.execution.placement import require_trust_of_job
from jobs.execution.pull_requests import base_of
from jobs.execution.scheduling import aadmit, acount_ahead, alist_workers
from jobs.models import Job
from jobs.playbooks import registry as playbooks
from jobs.playbooks.base import Context, RepositoryFacts
from jobs.playbooks.forge_facts import ForgeFacts, IssueFacts
from jobs.remote.client import Started
from jobs.remote.offload_runner.files.paths import AGENT
from jobs.remote.offload_runner.protocol import Plan
from jobs.states import Attention, JobState, LaunchPhase, Reason
from jobs.transitions import (
    aclaim_job,
    amove_job,
    arelease_job,
    aset_attention,
    process_name,
)
from jobs.workers import (
    Connection,
    connect,
    ensure_container,
    ensure_job_container,
    get_job,
    observe_worker,
    place_runs,
)

LEASE_SECONDS = 15.0
LEASE_RENEWAL = 5.0
QUEUE_POLL = 0.5
LAUNCHABLE = frozenset({JobState.QUEUED, JobState.PREPARING})
_OURS = frozenset({JobState.PREPARING})


class Progress(Protocol):
    """Receives the steps of a launch."""

    def step(self, text: str, phase: LaunchPhase) -> None:
        """Take one line: what is done now, and the part of the launch it belongs to."""


class _NoProgress:
    def step(self, text: str, phase: LaunchPhase) -> None:
        """Drop the line."""


NO_PROGRESS: Progress = _NoProgress()


def lease_owner() -> str:
    """Return a name for this launch: host, process, and a nonce, so that a dead owner can be told."""
    return f"{process_name()}:{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def lease(job_id: int, owner: str) -> AsyncIterator[bool]:
    """Hold the lease on a job while the block runs; yields whether it was free."""
    if not await aclaim_job(job_id, owner, LEASE_SECONDS):
        yield False
        return

    async def renew() -> None:
        while True:
            await asyncio.sleep(LEASE_RENEWAL)
            await aclaim_job(job_id, owner, LEASE_SECONDS)

    renewal = asyncio.create_task(renew())
    try:
        yield True
    finally:
        renewal.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewal
        await asyncio.shield(arelease_job(job_id, owner))


async def launch(job_id: int, progress: Progress = NO_PROGRESS, *, keep_queued: bool = False) -> Job:
    """Drive a job until its session runs (or it has ended); return its row.

    Safe to call at any time and by several processes at once: the holder of the lease works, the others
    wait for the outcome. Raises what went wrong; the row then says so too: a request that can never work
    is `failed`. With `keep_queued` (the reconciler), the job of a worker that does not answer stays `queued`,
    and a free slot is not waited for. A job that is interrupted goes on when a person asks (not
    `keep_queued`), and stays so when a stop interrupts it meanwhile.
    """
    owner = lease_owner()
    said = ""
    if not keep_queued:
        # Only once: a job that is interrupted after this was stopped by another command.
        interrupted = frozenset({JobState.INTERRUPTED})
        await amove_job(job_id, JobState.QUEUED, reason=Reason.SUBMITTED, sources=interrupted)
    while True:
        job = await get_job(job_id)
        if JobState(job.state) not in LAUNCHABLE:
            return job
        async with lease(job_id, owner) as ours:
            if ours:
                job = await get_job(job_id)
                if JobState(job.state) not in LAUNCHABLE:
                    return job
                await _check_trust(job, keep_queued=keep_queued)
                if await aadmit(job.id):
                    try:
                        await _drive(await get_job(job.id), progress, keep_queued=keep_queued)
                    except OffloadError:
                        # What failed after a stop failed because of it.
                        if (await get_job(job_id)).state != JobState.INTERRUPTED:
                            raise
                    return await get_job(job_id)
        if keep_queued:
            return await get_job(job_id)
        text = await _why_waiting(job, ours)
        if text != said:
            progress.step(text, LaunchPhase.CONNECT)
            said = text
        if ours:
            # The row has to say that a running job ended, even when no reconcile loop runs.
            with contextlib.suppress(TransportError, WorkerUnavailable):
                for worker_id in await alist_workers(job):
                    await refresh_worker(worker_id)
        await asyncio.sleep(QUEUE_POLL)


async def _check_trust(job: Job, *, keep_queued: bool) -> None:
    try:
        require_trust_of_job(job)
    except Refused as error:
        if keep_queued:
            await aset_attention(job.id, Attention.APPROVAL, detail=str(error))
        raise


async def _why_waiting(job: Job, ours: bool) -> str:
    if not ours:
        return "Another Offload process is launching this job; waiting for it"
    where = f"in the pool {job.pool}" if job.pool is not None and not job.worktree else f"on {job.worker}"
    return f"Waiting for a free slot {where} ({await acount_ahead(job)} ahead in the queue)"


async def _drive(job: Job, progress: Progress, *, keep_queued: bool) -> None:
    """Prepare and start a job whose lease and slot are ours."""
    connecting = partial(progress.step, phase=LaunchPhase.CONNECT)
    preparing = partial(progress.step, phase=LaunchPhase.PREPARE)
    try:
        await wake(job.worker, connecting, job_id=job.id)
        connecting(f"Connecting to {job.worker}")
        async with connect(job.worker) as connection:
            await observe_worker(job.worker_id, True, "Answered a launch.")
            container = await ensure_container(connection, job, preparing)
            if container.image != job.image:
                await Job.objects.filter(id=job.id).aupdate(image=container.image)
            try:
                prepared = await git_bundle.prepare(
                    connection, job, await _spec(job, own_caches=connection.container is not None), preparing
                )
            except NotFound as error:
                raise secrets.missing_credentials(job.repository.url, error) from error
            await _save_prepared(job.id, prepared)
            issue = await read_issue(job)
            if issue is not None:
                branch = job.options.get("branch") or issue.branch
                job.options = {**job.options, "branch": branch}
                await Job.objects.filter(id=job.id).aupdate(title=issue.title[:500], options=job.options)
            plan = _plan(job, prepared, container.image, await read_forge_facts(job), issue)
            values = await secrets.secrets_for(job, plan, preparing)
            held = secrets.held_by_agent(plan)
            if held != job.options.get("agent_secrets", []):
                await Job.objects.filter(id=job.id).aupdate(options={**job.options, "agent_secrets": held})
            await secrets.lay_out_profile(connection.client, job)
            await ensure_job_container(connection, job, preparing)
            progress.step("Starting the session", LaunchPhase.START)
            async with secrets.delivered(connection.client, job.session, values) as keep:
                edits = job.action == secrets.OPEN
                runs = place_runs(container, job, offline=_offline(plan), edits=edits)
                started = await _start(connection, job, plan, prepared, runs)
                keep(started.created)
    except (TransportError, WorkerUnavailable) as error:
        if isinstance(error, TransportError):
            await note_silence(job.worker_id, str(error))
        if keep_queued and error.retryable:
            detail = str(error)
            await amove_job(job.id, JobState.QUEUED, reason=Reason.SUBMITTED, detail=detail, sources=_OURS)
        else:
            await _fail(job, str(error))
        raise
    except OffloadError as error:
        await _fail(job, str(error))
        raise
    except asyncio.CancelledError:
        # Ctrl-C while preparing: nothing runs yet. The next command or the reconcile loop goes on.
        await asyncio.shield(
            amove_job(
                job.id,
                JobState.INTERRUPTED,
                reason=Reason.LAUNCHER_LOST,
                detail="The launch was stopped.",
                sources=_OURS,
            )
        )
        raise
    except Exception as error:
        await _fail(job, repr(error))
        raise
    await aapply_start(job.id, started.events)


async def _fail(job: Job, detail: str) -> None:
    """Say that the launch failed, of a job that is still ours to launch."""
    await amove_job(job.id, JobState.FAILED, reason=Reason.PREPARE_FAILED, detail=detail, sources=_OURS)


async def _spec(job: Job, *, own_caches: bool = False) -> dict[str, Any]:
    base = await sync_to_async(_base)(job)
    if playbooks.get(job.action).needs_issue:
        base = {"ref": job.ref, "because": "the issue is implemented on it"}
    return {
        **await secrets.credentials_for(job.repository.url),
        "session": job.session,
        "repository": {"slug": job.repository.short, "url": job.repository.url},
        "head": {"ref": job.ref},
        "base": base,
        "needs_base": playbooks.get(job.action).needs_base,
        "own_caches": own_caches,
        "keeps_environment": playbooks.get(job.action).keeps_environment,
        "fresh": False,
    }


def _base(job: Job) -> dict[str, str]:
    """Return the base that was named, and why; the runner chooses one when none was."""
    if named := job.options.get("base"):
        return {"ref": named, "because": "named with --base"}
    if job.repository.base:
        return {"ref": f"refs/heads/{job.repository.base}", "because": "set for this repository"}
    said = base_of(job.repository, job.number) if job.number is not None else ""
    return {"ref": "", "said": f"refs/heads/{said}" if said else ""}


async def _save_prepared(job_id: int, prepared: dict[str, Any]) -> None:
    moved = prepared.get("moved") or {}
    await Job.objects.filter(id=job_id).aupdate(
        sha=prepared["sha"],
        base_sha=prepared.get("base_sha") or "",
        base_ref=prepared.get("base_ref") or "",
        moved_to=moved.get("to") or "",
        title=(prepared.get("subject") or "")[:500],
        worktree=prepared["worktree"],
    )


def _plan(
    job: Job, prepared: dict[str, Any], image: str, forge: ForgeFacts | None, issue: IssueFacts | None
) -> Plan:
    context = Context(
        session=job.session,
        repository=job.repository.slug,
        target=job.target,
        number=job.number,
        sha=prepared["sha"],
        base_sha=prepared.get("base_sha") or "",
        base_ref=prepared.get("base_ref") or "",
        merge_base=prepared.get("merge_base") or "",
        facts=RepositoryFacts.from_json(prepared.get("facts", {})),
        agent=job.options.get("agent") or None,
        prompt=job.options.get("prompt", ""),
        agent_call=secrets.agent_call(job),
        image=image,
        forge=forge,
        issue=issue,
        options={"parallel": settings.OFFLOAD.parallel or None, "rounds": job.options.get("rounds") or 0},
    )
    return playbooks.get(job.action).plan(context)


def _offline(plan: Plan) -> set[str]:
    """Return the places that get no network: the agent's, when the gateway is its way to the model."""
    agents = [task for task in plan.tasks if task.agent]
    is_apart = settings.OFFLOAD.agent_network == "gateway"
    return {AGENT} if is_apart and agents and all(task.gateway is not None for task in agents) else set()


async def _start(
    connection: Connection, job: Job, plan: Plan, prepared: dict[str, Any], runs: dict[str, list[str]]
) -> Started:
    job = await get_job(job.id)
    state = JobState(job.state)
    if state is JobState.CANCELLING:
        raise UsageError(f"{job.session} was cancelled before it started.")
    if state is JobState.INTERRUPTED:
        raise Refused(f"{job.session} was interrupted before it started.", hint="The same command goes on.")
    cwd = prepared["worktree"]
    return await connection.client.start(job.session, plan, cwd=cwd, since=job.journal_seq, runs=runs)
