"""Taking a job's files off its worker without losing work."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from django.utils import timezone

from jobs.errors import CommandFailed, NotFound, Refused, TooLarge
from jobs.execution.archive import archive_dir, archive_over, receive
from jobs.execution.cancel import cancel
from jobs.models import Job, JobEvent
from jobs.states import DraftKind, DraftState, JobState, Reason
from jobs.workers import (
    Connection,
    connect,
    ensure_container,
    ensure_job_container,
    get_job,
    remove_job_container,
)

BUNDLE_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Removal:
    """What was removed.

    `bundle`: the local path of the rescued work, if there was any; `kept`: where on the worker a worktree was
    moved whose work could not be bundled; `notes`: what else a user should know.
    """

    session: str
    bundle: str | None
    kept: str | None = None
    notes: tuple[str, ...] = ()


async def remove(job_id: int, *, force: bool = False, actor: str = "") -> Removal:
    """Remove a job's session, processes, worktree and files from its worker, verified; keep its record.

    Raises `Refused` while it is at work or has work that exists nowhere else, unless `force` is set: then
    it is cancelled first, and unpushed commits and uncommitted changes are bundled and brought home. What
    git cannot bundle, and evidence that cannot be copied, do not keep a forced removal from its end.
    """
    job = await get_job(job_id)
    if job.removed_at is not None:
        raise NotFound(f"{job.session} was removed already.")
    if job.is_active:
        if not force:
            raise Refused(
                f"{job.session} is {job.state}.", hint="Cancel it first, or use --force to do both."
            )
        job = await cancel(job_id, actor)
    if not job.worktree:
        # Nothing was ever laid out for it; only a half-made preparation may have to go.
        async with connect(job.worker) as connection:
            await ensure_container(connection, job)
            await connection.client.clean(job.session, force=True)
        removal = Removal(job.session, None)
        await _mark_removed(job, actor, removal)
        return removal
    async with connect(job.worker) as connection:
        await ensure_container(connection, job)
        await ensure_job_container(connection, job, lambda text: None)
        pushed = await _pushed(job)
        await connection.client.clean(job.session, force=force, check=True, pushed=pushed)
        notes = await _copy_evidence(connection, job, force)
        cleaned = await connection.client.clean(job.session, force=force, pushed=pushed)
        await remove_job_container(connection, job)
        kept = cleaned.get("kept")
        if kept:
            notes.append(f"{cleaned.get('because')} The worktree was moved to {kept} on {job.worker}.")
        try:
            bundle = await _bring_home(connection, job, cleaned.get("bundle"))
        except (CommandFailed, TooLarge) as error:
            bundle, kept = None, cleaned.get("bundle")
            notes.append(f"The rescued work stays at {kept} on {job.worker}: {error.message}")
    removal = Removal(job.session, bundle, kept, tuple(notes))
    await _mark_removed(job, actor, removal)
    return removal


async def _pushed(job: Job) -> list[str]:
    """Return the commits of a job that the outbox has pushed."""
    sent = job.drafts.filter(kind=DraftKind.PUSH.value, state=DraftState.SENT.value)
    return [str(payload["tip"]) async for payload in sent.values_list("payload", flat=True)]


async def _copy_evidence(connection: Connection, job: Job, force: bool) -> list[str]:
    try:
        await archive_over(connection, job)
    except (CommandFailed, TooLarge) as error:
        if not force:
            raise Refused(
                error.message, hint="Use --force to remove the job without its evidence."
            ) from error
        return [f"Its evidence was not kept: {error.message}"]
    return []


async def _bring_home(connection: Connection, job: Job, remote: str | None) -> str | None:
    if not remote:
        return None
    target = archive_dir(job.id) / posixpath.basename(remote)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with target.open("wb") as file:
        status, said = await receive(connection.transport, ["cat", "--", remote], file, BUNDLE_BYTES)
    if status != 0:
        raise CommandFailed(f"Copying {remote} from {job.worker} failed: {said}.", exit_status=status)
    return str(target)


async def _mark_removed(job: Job, actor: str, removal: Removal) -> None:
    await Job.objects.filter(id=job.id, removed_at__isnull=True).aupdate(removed_at=timezone.now())
    data = {"bundle": removal.bundle, "kept": removal.kept, "notes": list(removal.notes)}
    await JobEvent.objects.acreate(job=job, kind="removed", actor=actor, data=data)


async def discard(job_id: int) -> None:
    """Take back a job that never started: half-made files and the row itself.

    No work can be in it; what refuses to go all the same keeps its row, so that it is seen.
    """
    job = await get_job(job_id)
    if job.started_at or job.state != JobState.FAILED or job.reason != Reason.PREPARE_FAILED:
        return
    try:
        async with connect(job.worker) as connection:
            await ensure_container(connection, job)
            await connection.client.clean(job.session, force=not job.sha)
    except Exception:
        if job.sha:
            raise
    await job.adelete()
