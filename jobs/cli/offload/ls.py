"""`offload ls`: list the jobs in groups, one line each, or the open pull requests."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from urllib.parse import urlencode

from jobs import operations, serializers
from jobs.cli.local_time import local_clock
from jobs.cli.output import colour, draw, plain, print_job_list_json, print_json, say, terminal_size
from jobs.cli.request import Request, has_terminal
from jobs.cli.table import job_lines, table_lines
from jobs.client import get_client, is_remote
from jobs.errors import NotFound, UsageError
from jobs.formats import format_age
from jobs.invocation import command
from jobs.models import Job, PullRequest

WATCH_SECONDS = 2.0
NONE = "There are no jobs."
NONE_MATCHES = "No job matches."
# Option -> those that it would ignore.
_ALONE = {
    "web": ("open", "watch", "json", "quiet", "state", "limit"),
    "watch": ("open", "json", "quiet"),
    "json": ("quiet",),
    "open": ("state",),
}


async def run(request: Request) -> int:
    """List the jobs, or the open pull requests."""
    _refuse_contradictions(request)
    if request.web:
        if is_remote():
            raise UsageError(
                "--web opens this computer's dashboard.", hint="Open the address of OFFLOAD_URL."
            )
        return await _open_dashboard(request)
    if request.open:
        return await _list_pulls(request)
    wanted = operations.JobFilter(request.repo or "", tuple(request.state or ()), request.limit)
    if request.watch:
        return await _watch(request, wanted)
    jobs = await get_client().list_jobs(wanted, say)
    groups = _grouped(jobs)
    ordered = [job for _, members in groups for job in members]
    if request.json:
        print_job_list_json(ordered)
    elif request.quiet:
        print("".join(f"{job.session}\n" for job in ordered), end="")
    elif jobs:
        print("\n".join(_table(groups)))
    elif wanted == operations.JobFilter():
        print(f"{NONE} Start one: {command('123 review')}")
    else:
        print(NONE_MATCHES)
    return 0


def _refuse_contradictions(request: Request) -> None:
    """Raise `UsageError` for options that would be ignored."""
    for option, others in _ALONE.items():
        given = [name for name in others if getattr(request, name)]
        if getattr(request, option) and given:
            raise UsageError(f"--{option} has no effect with --{given[0]}.", hint="Use one of them.")


def _grouped(jobs: Sequence[Job]) -> list[tuple[str, list[Job]]]:
    """Return the heading and the jobs of each group."""
    return [
        (heading, [job for job in jobs if serializers.group_of(job) == key])
        for key, heading in serializers.GROUPS.items()
    ]


async def _watch(request: Request, wanted: operations.JobFilter) -> int:
    """Draw the list again and again, until Ctrl-C; the last one stays on the screen."""
    if not has_terminal():
        raise UsageError(
            "--watch needs a terminal, and this command has none.",
            hint="Use `offload ls --json` or `offload wait` in scripts.",
        )
    request.if_interrupted = ""
    none = NONE if wanted == operations.JobFilter() else NONE_MATCHES
    draw("\x1b[2J")
    while True:
        notes: list[str] = []
        jobs = await get_client().list_jobs(wanted, notes.append)
        room = terminal_size()
        count = f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"
        lines = [f"{count} at {local_clock()}", *(plain(note)[: room.columns] for note in notes), ""]
        lines += _table(_grouped(jobs)) if jobs else [none]
        hidden = len(lines) - (room.lines - 1)
        if hidden > 0:
            lines = [*lines[: room.lines - 2], colour(f"{hidden + 1} more lines do not fit.", "dim")]
        draw("\x1b[H")
        for line in lines:
            print(line, end="")
            draw("\x1b[K\n")
        draw("\x1b[J")
        await asyncio.sleep(WATCH_SECONDS)


async def _open_dashboard(request: Request) -> int:
    """Open the dashboard's home, or print a login link for it where no browser can be opened."""
    filters = ""
    if request.repo:
        job = await operations.JobFilter(request.repo).apply().afirst()
        if job is None:
            raise NotFound(f"There is no job of {request.repo}.", hint="See `offload ls`.")
        filters = urlencode({"repository": job.repository.slug})
    from django.core.management import call_command

    serve = functools.partial(call_command, "serve", link=True, open=True, filters=filters)
    await asyncio.to_thread(serve)
    return 0


async def _list_pulls(request: Request) -> int:
    from pathlib import Path

    rows = await get_client().list_pulls(request.repo or "", Path.cwd(), say)
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
