"""Check the forges of the known repositories: which token each host gets, and what its rate limit leaves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from jobs.errors import NotConfigured, OffloadError
from jobs.forges import registry
from jobs.forges.base import host
from jobs.models import Repository
from jobs.providers.base import Problem, Severity

SECONDS = 10.0


async def check_forges() -> list[Problem]:
    """Ask each host that has a known repository, at the same time; nothing when there is none."""
    first: dict[tuple[str, str], Repository] = {}
    async for repository in Repository.objects.order_by("id"):
        if registry.has_client(repository.forge):
            first.setdefault((repository.forge, host(repository.url)), repository)
    return list(await asyncio.gather(*map(_check, first.values())))


async def _check(repository: Repository) -> Problem:
    from jobs import execution  # loads the transports, which the checks of files do not need

    name = host(repository.url)
    subject = f"forge {name}"
    _, source = await execution.read_token(repository.forge, name)
    token = f"token from {source}" if source else "no token"
    remedy = "" if source else "Threads, reviews and private repositories need one: see docs/forges.md."
    try:
        async with asyncio.timeout(SECONDS), execution.open_forge(repository) as (client, slug):
            limit = await client.read_limit(slug)
    except NotConfigured as error:
        return Problem(Severity.FAIL if source else Severity.WARN, subject, error.message, error.hint)
    except TimeoutError:
        told = f"{token}; no answer within {SECONDS:g} seconds."
        return Problem(Severity.WARN, subject, told, "Check the network, or the setting forge_apis.")
    except OffloadError as error:
        return Problem(Severity.WARN, subject, f"{token}; {error.message}", error.hint)
    if limit is None:
        return Problem(Severity.PASS, subject, f"{token}; it names no rate limit.", remedy)
    at = datetime.fromtimestamp(limit.resets_at, UTC).strftime("%H:%M:%S UTC")
    told = f"{token}; {limit.remaining} of {limit.limit} requests left until {at}."
    low = limit.remaining * 10 < limit.limit
    return Problem(Severity.WARN if low else Severity.PASS, subject, told, remedy)
