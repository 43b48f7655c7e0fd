"""Pull requests for interfaces: rows, refreshed when they are looked at."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Q

from jobs.errors import NotConfigured, NotFound, OffloadError
from jobs.forges.ci_log import CiFailure
from jobs.forges.pulls import Check, Thread
from jobs.models import PullRequest, Repository
from jobs.operations.progress import Progress

FORGE_SECONDS = 5.0
INBOX_SECONDS = 10.0


@dataclass(frozen=True)
class ObservedPull:
    """A pull request as last read. `blocks`: what is in the way of merging it; `unknown`: what was not told.

    `threads`: the unresolved ones, None when they are unknown. `failures`: what logs say, by `Check.log`.
    """

    row: PullRequest
    blocks: list[str]
    unknown: list[str]
    checks: list[Check]
    threads: list[Thread] | None
    failures: dict[int, CiFailure]

    @classmethod
    def of(cls, row: PullRequest) -> ObservedPull:
        """Return a row with what follows from it."""
        from jobs import execution

        checks = execution.checks_of(row)
        read = {check.log: execution.failure_of(row, check) for check in checks}
        return cls(
            row,
            execution.what_blocks(row),
            execution.what_is_unknown(row),
            checks,
            execution.threads_of(row),
            {log: failure for log, failure in read.items() if log is not None and failure is not None},
        )


async def list_pulls(text: str, cwd: Path, warn: Progress) -> list[PullRequest]:
    """Return the open pull requests of a repository, the last changed first.

    `text` names the repository as `resolve_repository` takes it. A forge that does not answer costs a
    warning: the rows are returned as last read. Raises `NotConfigured` when the forge has no client.
    """
    from jobs import execution  # loads the transports, which a list of jobs does not need

    return await _list(await execution.resolve_repository(text, cwd), warn)


async def find_repository(name: str) -> Repository | None:
    """Return the repository with this slug, short name or URL that Offload has a row for."""
    return await Repository.objects.filter(Q(slug=name) | Q(short=name) | Q(url=name)).afirst()


async def list_pulls_of_known(name: str, warn: Progress) -> list[PullRequest]:
    """Return the open pull requests of a repository that Offload has a row for: its slug, short name or URL.

    Raises `NotFound` for another one, otherwise as `list_pulls`.
    """
    repository = await find_repository(name)
    if repository is None:
        raise NotFound(f"No job was ever started for the repository {name!r}.", hint="Start one for it.")
    return await _list(repository, warn)


async def _list(repository: Repository, warn: Progress) -> list[PullRequest]:
    from jobs import execution

    try:
        await execution.refresh_pulls(repository)
    except NotConfigured:
        raise
    except OffloadError as error:
        warn(f"{error} The list is shown as last read.")
    rows = PullRequest.objects.filter(repository=repository, state="open").select_related("repository")
    return [row async for row in rows.defer("threads", "reviews", "rules", "failures")]


async def refresh_inbox(warn: Progress) -> None:
    """Read the pull requests of all repositories from their forges.

    A forge that does not answer costs a warning. What was read within a minute is not read again.
    """
    from jobs import execution
    from jobs.forges import registry

    async def read(repository: Repository) -> None:
        try:
            async with asyncio.timeout(INBOX_SECONDS):
                await execution.refresh_inbox(repository)
        except TimeoutError:
            warn(f"Reading {repository.slug} took more than {INBOX_SECONDS:g} s; it continues later.")
        except OffloadError as error:
            warn(str(error))

    known = [row async for row in Repository.objects.all() if registry.has_client(row.forge)]
    await asyncio.gather(*map(read, known))


async def observe_pull(repository: Repository, number: int | None, warn: Progress) -> ObservedPull | None:
    """Return a pull request as read within a minute; as last read, with a warning, when the forge is silent.

    Logs of failed checks that were not read yet are read as well, as far as that takes as long again. None
    when it is not a pull request, or its forge has no client.
    """
    from jobs import execution
    from jobs.forges import registry

    if number is None or not registry.has_client(repository.forge):
        return None
    try:
        async with asyncio.timeout(FORGE_SECONDS):
            await execution.refresh_pull(repository, number)
    except (OffloadError, TimeoutError) as error:
        why = str(error) or f"{repository.url} did not answer within {FORGE_SECONDS:g} s."
        warn(f"{why} The pull request is shown as last read.")
    else:
        try:
            async with asyncio.timeout(FORGE_SECONDS):
                await execution.read_failures(repository, number)
        except NotConfigured:
            pass  # GitHub gives no log without a token, which is said of the threads
        except (OffloadError, TimeoutError) as error:
            warn(str(error) or "Reading the logs of failed checks takes long; the next `status` continues.")
    rows = PullRequest.objects.select_related("repository")
    row = await rows.filter(repository=repository, number=number).afirst()
    return ObservedPull.of(row) if row else None
