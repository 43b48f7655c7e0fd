"""`offload ls`: list the jobs in groups, one line each, or the open pull requests."""

from __future__ import annotations

from collections.abc import Sequence

from jobs import operations, serializers
from jobs.cli.output import colour, plain, print_job_list_json, print_json, say
from jobs.cli.request import Request
from jobs.cli.table import job_lines, table_lines
from jobs.formats import format_age
from jobs.invocation import command
from jobs.models import Job, PullRequest


async def run(request: Request) -> int:
    """List the jobs, or the open pull requests."""
    if request.open:
        return await _list_pulls(request)
    wanted = operations.JobFilter(request.repo or "", tuple(request.state or ()), request.limit)
    jobs = await operations.list_jobs(wanted, say)
    groups = [
        (heading, [job for job in jobs if serializers.group_of(job) == key])
        for key, heading in serializers.GROUPS.items()
    ]
    ordered = [job for _, members in groups for job in members]
    if request.json:
        print_job_list_json(ordered)
    elif request.quiet:
        print("".join(f"{job.session}\n" for job in ordered), end="")
    elif jobs:
        print("\n".join(_table(groups)))
    elif wanted == operations.JobFilter():
        print(f"There are no jobs. Start one: {command('123 review')}")
    else:
        print("No job matches.")
    return 0


async def _list_pulls(request: Request) -> int:
    from pathlib import Path

    rows = await operations.list_pulls(request.repo or "", Path.cwd(), say)
    rows = rows[: request.limit] if request.limit else rows
    if request.json:
        print_json("pull_requests", [serializers.pull_json(row) for row in rows])
    elif request.quiet:
        print("".join(f"{row.number}\n" for row in rows), end="")
    elif not rows:
        print("There is no open pull request.")
    else:
        print("\n".join(table_lines([_pull_cells(row) for row in rows])))
    return 0


def _pull_cells(row: PullRequest) -> tuple[str, ...]:
    """Return number, author, base, age, and the title with draft and labels."""
    labels = "".join(f" [{label}]" for label in row.labels)
    title = f"{'draft: ' if row.draft else ''}{row.title}{labels}"
    shown = (f"#{row.number}", row.author, row.base_ref, format_age(row.updated_at), title)
    return tuple(plain(" ".join(cell.split())) for cell in shown)


def _table(groups: Sequence[tuple[str, Sequence[Job]]]) -> list[str]:
    """Return the lines of all groups that have jobs, with their headings."""
    rows = iter(job_lines([job for _, members in groups for job in members]))
    lines: list[str] = []
    for heading, members in groups:
        if members:
            lines += ["", colour(f"{heading} ({len(members)})", "bold")]
            lines += [next(rows) for _ in members]
    return lines[1:]
