"""`offload trust ls|rm [REPOSITORY]`: whose code may run as the user, without a container."""

from __future__ import annotations

from jobs import execution
from jobs.cli.output import print_json, say
from jobs.cli.request import Request, actor
from jobs.errors import UsageError
from jobs.models import Repository
from jobs.serializers import utc


async def run(request: Request) -> int:
    """List the trusted repositories, or take the trust in one back."""
    action, *names = request.words
    if action not in ("ls", "rm") or (action == "ls") != (not names):
        raise UsageError(
            f"`trust {' '.join(request.words)}` is not complete.",
            hint="Write trust ls, or trust rm REPOSITORY.",
        )
    if action == "ls":
        return await _list(request)
    row, at_work = await execution.distrust(names[0], actor())
    if request.json:
        print_json("trust", {**_data(row), "running_jobs": at_work})
        return 0
    print(f"{row} is not trusted any more.")
    if at_work:
        noun = "job that runs" if at_work == 1 else "jobs that run"
        say(f"{at_work} {noun} as your user goes on; `offload cancel JOB` ends one.")
    return 0


async def _list(request: Request) -> int:
    rows = await execution.list_trusted()
    if request.json:
        print_json("trusted", [_data(row) for row in rows])
    elif not rows:
        say("No repository is trusted. A job that needs it asks.")
    for row in () if request.json else rows:
        print(f"{row.slug:<40} since {row.trusted_at:%Y-%m-%d} by {row.trusted_by or '-'}  {row.url}")
    return 0


def _data(row: Repository) -> dict[str, str | None]:
    return {
        "repository": row.slug,
        "url": row.url,
        "trusted_at": utc(row.trusted_at),
        "trusted_by": row.trusted_by or None,
    }
