"""`offload ls`: list the jobs in groups, one line each, or the open pull requests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from jobs import operations, serializers
from jobs.cli.output import (
    colour,
    plain,
    print_job_list_json,
    print_json,
    say,
    state_word,
    visible_width,
)
from jobs.cli.request import Request
from jobs.formats import format_age
from jobs.invocation import command
from jobs.models import Job, PullRequest

_GAP = "  "
_REASON_WIDTH = 36  # columns that the reason gets before columns are left out
_LEFT_OUT = (3, 4, 2)  # on a narrow terminal, in this order: worker, age, repository


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
        print("\n".join(_lines([_pull_cells(row) for row in rows])))
    return 0


def _pull_cells(row: PullRequest) -> tuple[str, ...]:
    """Return number, author, base, age, and the title with draft and labels."""
    labels = "".join(f" [{label}]" for label in row.labels)
    title = f"{'draft: ' if row.draft else ''}{row.title}{labels}"
    shown = (f"#{row.number}", row.author, row.base_ref, format_age(row.updated_at), title)
    return tuple(plain(" ".join(cell.split())) for cell in shown)


def _table(groups: Sequence[tuple[str, Sequence[Job]]]) -> list[str]:
    """Return the lines of all groups that have jobs, with their headings."""
    rows = iter(_lines([_cells(job) for _, members in groups for job in members], _LEFT_OUT))
    lines: list[str] = []
    for heading, members in groups:
        if members:
            lines += ["", colour(f"{heading} ({len(members)})", "bold")]
            lines += [next(rows) for _ in members]
    return lines[1:]


def _lines(rows: Sequence[Sequence[str]], left_out: Sequence[int] = ()) -> list[str]:
    """Return a line for each row, at least one, its cells below those of the others.

    `left_out`: the columns that a narrow terminal does without, the first to go first.
    """
    widths = [max(map(visible_width, column)) for column in list(zip(*rows, strict=True))[:-1]]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    shown = list(range(len(widths)))
    for column in left_out:
        if room and sum(widths[i] + len(_GAP) for i in shown) + _REASON_WIDTH > room:
            shown.remove(column)
    return [_line([*(row[i] for i in shown), row[-1]], [widths[i] for i in shown], room) for row in rows]


def _line(cells: Sequence[str], widths: Sequence[int], room: int) -> str:
    """Return one line; its last cell is cut where the terminal ends (`room` columns; 0: no limit)."""
    start = _GAP.join(
        cell + " " * (width - visible_width(cell)) for cell, width in zip(cells, widths, strict=False)
    )
    left = room - visible_width(start) - len(_GAP)
    last = cells[-1]
    if room and len(last) > left:
        last = f"{last[: max(0, left - 1)]}…"
    return f"{start}{_GAP}{last}".rstrip()


def _cells(job: Job) -> tuple[str, ...]:
    """Return target and action, verdict or state, repository, worker, age, and the reason or the title."""
    name = f":{job.name}" if job.name else ""
    return (
        plain(f"{job.target}{name} {job.action}"),
        state_word(job),
        job.repository.slug,
        job.worker.name,
        format_age(job.finished_at or job.created_at),
        plain(" ".join((serializers.headline(job) or job.title).split())),
    )
