"""Submit a job on behalf of a program that is not at this computer; the reconciler launches it."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from jobs import execution
from jobs.errors import Refused, UsageError
from jobs.forges.target import normalise_url, parse_target
from jobs.models import Job, Repository
from jobs.operations.one_job import NOWHERE
from jobs.operations.pulls import find_repository


@dataclass(frozen=True)
class NewJob:
    """The job to submit; empty fields take the defaults of the command line.

    `repository`: empty takes that of the target, then the configured one.
    """

    target: str
    action: str = "review"
    repository: str = ""
    name: str = ""
    worker: str = ""
    pool: str = ""
    agent: str = ""
    prompt: str = ""
    base: str = ""
    rounds: int = 0


async def submit_job(new: NewJob, actor: str) -> tuple[Job, bool]:
    """Return the job that is asked for, and whether it is new.

    Raises `UsageError`, `NotFound`, or `Refused`: the repository is not trusted where it would run as the
    user, is a directory of this computer without jobs, or the job exists with other options.
    """
    target = execution.target_for(new.action, parse_target(new.target))
    repository = await _resolve(new.repository or target.repository or settings.OFFLOAD.repo)
    if new.repository and target.repository and await _resolve(target.repository) != repository:
        raise UsageError(
            f"{new.target} is not of the repository {repository}.", hint="Leave one of them out."
        )
    target = await execution.expand_commit(target, repository, NOWHERE)
    placed = await execution.place_request(repository, new.worker, new.pool)
    execution.require_trust(placed)
    job, created = await execution.submit(
        execution.JobRequest(
            repository=repository, target=target, action=new.action, name=new.name, worker=new.worker,
            agent=new.agent, prompt=new.prompt, base=new.base, rounds=new.rounds, batch=True, actor=actor,
            placed=placed,
        )
    )  # fmt: skip
    options = {"agent": new.agent, "prompt": new.prompt, "base": new.base, "rounds": new.rounds}
    other = [key for key, value in options.items() if value and value != job.options.get(key)]
    if other:
        raise Refused(
            f"{job.session} already exists with another {' and '.join(other)}.",
            hint="Remove it first, or give the new job a name.",
        )
    return job, created


async def _resolve(text: str) -> Repository:
    if not text:
        raise UsageError("No repository was named, and none is configured.", hint="Name its URL.")
    if (known := await find_repository(text)) is not None:
        return known
    # A token gives no right to read the files of this computer.
    if normalise_url(text, NOWHERE).startswith("/"):
        raise Refused(
            f"{text!r} is a directory of the server.",
            hint="Start a first job for it there, with the command line.",
        )
    return await execution.resolve_repository(text, NOWHERE)
