"""Where a job runs: code from elsewhere goes into a container when there can be one."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.execution.repositories import is_local_path
from jobs.models import Repository, Worker
from jobs.workers import ensure_beside, look_beside


@dataclass(frozen=True)
class Placement:
    """A worker and, when there was something to decide, a sentence that says why it is that one."""

    worker: Worker
    why: str = ""


async def place(repository: Repository, worker: Worker) -> Placement:
    """Return where a new job of the repository runs when `worker` is asked for.

    A bare worker on this machine would run the code as the user. For a repository that is not a directory
    of this machine, the container beside it is taken when an engine has the image.
    """
    if worker.provider != "local" or worker.config.get("container") or is_local_path(repository.url):
        return Placement(worker)
    beside = await look_beside(worker)
    if not beside.contained:
        return Placement(worker, f"Without a container, because {beside.why}. {beside.remedy}".rstrip())
    why = f"In a container, because the code comes from elsewhere and {beside.why}."
    return Placement(await ensure_beside(worker, beside), why)
