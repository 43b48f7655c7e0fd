"""The only writer of state columns and of `Worker.desired`.

A move is one conditional UPDATE by id and legal source states, with its event row in the same
transaction. A move whose source state is no longer legal is dropped: the function returns False, and
nothing was written. The caller must not hold a transaction over network I/O.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from jobs.models import Job, JobEvent, Worker
from jobs.states import (
    JOB_ENDED,
    JOB_FINAL,
    Attention,
    JobState,
    Reason,
    Verdict,
    WorkerDesired,
    WorkerState,
    job_sources,
    worker_sources,
)


def move_job(
    job_id: int,
    to: JobState,
    *,
    reason: Reason = Reason.NONE,
    detail: str = "",
    verdict: Verdict | None = None,
    attention: Attention | None = None,
    actor: str = "",
    sources: frozenset[JobState] | None = None,
    **columns: Any,
) -> bool:
    """Move a job to `to` if its present state allows it, and record the event.

    `sources` narrows the legal source states; `columns` are further (non-state) columns to set in the
    same UPDATE. Returns whether the move was made.
    """
    now = timezone.now()
    legal = job_sources(to) if sources is None else job_sources(to) & sources
    values: dict[str, Any] = {"state": to.value, "reason": reason.value, "reason_detail": detail, **columns}
    if verdict is not None:
        values["verdict"] = verdict.value
    if attention is not None:
        values["attention"] = attention.value
    elif to in JOB_FINAL:
        values["attention"] = Attention.ERROR.value if to is JobState.FAILED else Attention.NONE.value
    elif to is JobState.RUNNING:
        values["attention"] = Attention.NONE.value
    if "attention" in values:
        values["attention_until"] = None
    if to in JOB_ENDED:
        values.setdefault("finished_at", now)
    else:
        values.setdefault("finished_at", None)
        # What was archived is about to be out of date.
        values.setdefault("archived_at", None)
    with transaction.atomic():
        moved = Job.objects.filter(id=job_id, state__in=[s.value for s in legal]).update(**values)
        if not moved:
            return False
        JobEvent.objects.create(
            job_id=job_id,
            kind="state",
            at=now,
            actor=actor,
            data={"state": to.value, "reason": reason.value, "detail": detail}
            | ({"verdict": verdict.value} if verdict is not None else {}),
        )
    return True


def set_attention(
    job_id: int,
    attention: Attention,
    *,
    detail: str = "",
    actor: str = "",
    until: datetime | None = None,
    sources: frozenset[Attention] | None = None,
) -> bool:
    """Set why a human is needed, and when that ends by itself if this is known.

    `sources` narrows what it may be before. Returns False when the reason is not a new one; a new end of
    the same one is written without an event.
    """
    jobs = Job.objects.filter(id=job_id)
    if sources is not None:
        jobs = jobs.filter(attention__in=[source.value for source in sources])
    with transaction.atomic():
        values = {"attention": attention.value, "attention_until": until}
        changed = jobs.exclude(attention=attention.value).update(**values)
        if changed:
            JobEvent.objects.create(
                job_id=job_id,
                kind="attention",
                actor=actor,
                data={"attention": attention.value, "detail": detail},
            )
        else:
            jobs.filter(attention=attention.value).update(attention_until=until)
    return bool(changed)


def move_worker(
    worker_id: int,
    to: WorkerState,
    *,
    detail: str = "",
    actor: str = "",
    since: datetime | None = None,
    sources: frozenset[WorkerState] | None = None,
) -> bool:
    """Move a worker to `to` if its present state allows it, and record the event.

    `since`: when it came about, if that is known to be earlier than the observation. `sources` narrows the
    legal source states.
    """
    now = timezone.now()
    since = min(since, now) if since is not None else now
    legal = worker_sources(to) if sources is None else worker_sources(to) & sources
    with transaction.atomic():
        moved = Worker.objects.filter(id=worker_id, state__in=[s.value for s in legal]).update(
            state=to.value, state_detail=detail, state_since=since, observed_at=now
        )
        if moved:
            JobEvent.objects.create(
                worker_id=worker_id,
                kind="worker_state",
                at=now,
                actor=actor,
                data={"state": to.value, "detail": detail}
                | ({"since": since.isoformat()} if since != now else {}),
            )
    return bool(moved)


def set_desired(worker_id: int, desired: WorkerDesired) -> None:
    """Record which state the user wants of a worker."""
    Worker.objects.filter(id=worker_id).update(desired=desired.value)


def process_name() -> str:
    """Return `host:pid` of this process, by which another can tell that it is gone."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_gone(owner: str) -> bool:
    """Tell whether the process `host:pid` (or `host:pid:nonce`), of this machine, is known to be gone."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def claim_job(job_id: int, owner: str, seconds: float) -> bool:
    """Take or renew the lease on a job for `seconds`. Returns False while another owner holds it.

    An owner is `host:pid:nonce`; a holder on this machine whose process is gone holds nothing any more.
    """
    now = timezone.now()
    free = Q(lease_owner="") | Q(lease_owner=owner) | Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    holder = Job.objects.filter(id=job_id).values_list("lease_owner", flat=True).first()
    if holder and is_gone(holder):
        free |= Q(lease_owner=holder)
    return bool(
        Job.objects.filter(free, id=job_id).update(
            lease_owner=owner, lease_until=now + timedelta(seconds=seconds)
        )
    )


def release_job(job_id: int, owner: str) -> None:
    """Give the lease back, if we still hold it."""
    Job.objects.filter(id=job_id, lease_owner=owner).update(lease_owner="", lease_until=None)


def note_waiting(job_ids: Collection[int], detail: str) -> None:
    """Have queued jobs say that they wait for a slot."""
    Job.objects.filter(id__in=job_ids, state=JobState.QUEUED.value).update(
        reason=Reason.WAITING_FOR_SLOT.value, reason_detail=detail
    )


amove_job = sync_to_async(move_job)
aset_desired = sync_to_async(set_desired)
aset_attention = sync_to_async(set_attention)
aclaim_job = sync_to_async(claim_job)
arelease_job = sync_to_async(release_job)
