"""Where a job runs, and whether its code may run there.

`assess_exposure` is the one rule. A container or another machine separates code from the user; a bare
worker on this computer does not, so code from elsewhere needs the user's trust there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import transaction

from jobs.errors import Refused, UsageError
from jobs.execution.repositories import is_local_path
from jobs.models import Job, Pool, Repository, Worker
from jobs.states import WorkerDesired
from jobs.workers import ensure_sibling, find_sibling, find_worker
from jobs.workers.pools import claim_worker, find_pool, workers_to_make


class Exposure(Enum):
    """What a repository's code can reach on a worker."""

    NONE = "none"  # it is isolated from the user, or it is the user's own code
    TRUSTED = "trusted"  # it runs as the user, who trusts the repository
    UNTRUSTED = "untrusted"  # it would run as the user, who has not agreed to that


def assess_exposure(repository: Repository, worker: Worker) -> Exposure:
    """Return what the code of a repository can reach when it runs on a worker."""
    bare = worker.provider == "local" and not worker.config.get("container")
    if not bare or is_local_path(repository.url):
        return Exposure.NONE
    return Exposure.UNTRUSTED if repository.trusted_at is None else Exposure.TRUSTED


@dataclass(frozen=True)
class Placement:
    """The worker of a job, and why it is that one when there was a choice.

    `pool`: the worker may still become another one of that pool, until the job is prepared.
    """

    repository: Repository
    worker: Worker
    why: str = ""
    pool: Pool | None = None

    @property
    def needs_trust(self) -> bool:
        """Return whether the user must trust the repository before the job may run there."""
        return assess_exposure(self.repository, self.worker) is Exposure.UNTRUSTED


async def place(repository: Repository, worker: Worker) -> Placement:
    """Return where a new job of the repository runs when `worker` is requested.

    Code that would run as the user goes into the container of that worker instead, when an engine has the
    image.
    """
    if assess_exposure(repository, worker) is Exposure.NONE:
        return Placement(repository, worker)
    sibling = await find_sibling(worker)
    if not sibling.contained:
        why = f"Without a container, because {sibling.why}. {sibling.remedy}".rstrip()
        return Placement(repository, worker, why)
    why = f"In a container, because the code comes from elsewhere and {sibling.why}."
    return Placement(repository, await ensure_sibling(worker, sibling), why)


async def place_request(repository: Repository, worker: str = "", pool: str = "") -> Placement:
    """Return where a new job runs: on the named worker, else in the named pool, the repository's, or as
    configured.

    Raises `NotFound` for a worker or pool that there is not, `UsageError` when both are named.
    """
    if worker and pool:
        raise UsageError("--worker and --class contradict each other.", hint="Use one of them.")
    pool = pool or ("" if worker else _configured_pool(repository))
    if not pool:
        return await place(repository, await sync_to_async(find_worker)(worker))
    return await sync_to_async(_place_in_pool)(repository, pool)


def _place_in_pool(repository: Repository, name: str) -> Placement:
    pool = find_pool(name)
    members = pool.workers.exclude(desired=WorkerDesired.GONE).order_by("id")
    usable = (one for one in members if assess_exposure(repository, one) is not Exposure.UNTRUSTED)
    worker = next(usable, None)
    if worker is None:
        with transaction.atomic():
            pool = Pool.objects.select_for_update().get(id=pool.id)
            if not workers_to_make(pool, list(pool.workers.all())):
                raise Refused(
                    f"The pool {pool} has no worker that may run the code of {repository}.",
                    hint=f"Add one: `offload fleet pool {pool} --add WORKER`; or let it make machines: "
                    f"`offload fleet pool {pool} --like WORKER --max 4`.",
                )
            worker = claim_worker(pool)
    return Placement(repository, worker, f"Any worker of the pool {pool}.", pool)


def _configured_pool(repository: Repository) -> str:
    """Return the pool that the configuration names for a repository (by slug, short name or URL)."""
    names = {repository.slug.lower(), repository.short, repository.url}
    pairs = (one.rpartition("=") for one in settings.OFFLOAD.classes)
    return next((pool for name, _, pool in pairs if name in names or name.lower() in names), "")


def require_trust(placement: Placement) -> None:
    """Raise `Refused` when the job would run untrusted code as the user, on this computer."""
    if not placement.needs_trust:
        return
    raise Refused(
        f"{placement.repository.url} is not trusted yet: its pull requests' code would run as you, on this "
        f"machine. {placement.why}".rstrip(),
        hint="If you trust everyone who can open a pull request there, repeat the command with --trust "
        "(asked once per repository).",
    )


def require_trust_of_job(job: Job) -> None:
    """Raise `Refused` as `require_trust` for a job, with its repository and worker as they are now."""
    require_trust(Placement(job.repository, job.worker, job.options.get("placement") or ""))
