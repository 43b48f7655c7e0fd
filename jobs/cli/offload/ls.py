"""`offload ls`: list the jobs that need you, that run, and that have ended."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from jobs import operations
from jobs.cli.output import (
    colour,
    needs_you,
    plain,
    print_job_list_json,
    print_json,
    say,
    state_words,
    visible_width,
)
from jobs.cli.request import Request
from jobs.formats import format_age
from jobs.invocation import command
from jobs.models import Job, PullRequest
from jobs.states import JobState

_GAP = "  "


async def run(request: Request) -> int:
    """List the jobs, or the open pull requests."""
    if request.open:
        return await _list_pulls(request)
    wanted = operations.JobFilter(request.repo or "", tuple(request.state or ()), request.limit)
    jobs = await operations.list_jobs(wanted, say)
    groups = (
        ("Needs you", [job for job in jobs if needs_you(job)]),
        ("Running", [job for job in jobs if job.is_active and not needs_you(job)]),
        ("Ended", [job for job in jobs if job.has_ended and not needs_you(job)]),
    )
    ordered = [job for _, members in groups for job in members]
    if request.json:
        print_job_list_json(ordered)
    elif request.quiet:
        print("".join(f"{job.session}\n" for job in ordered), end="")
    elif not jobs:
        print(f"There are no jobs. Start one: {command('123 review')}")
    else:
        _print_table(groups)
    return 0


async def _list_pulls(request: Request) -> int:
    from pathlib import Path

    from jobs import serializers

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


def _print_table(groups: Sequence[tuple[str, Sequence[Job]]]) -> None:
    lines = iter(_lines([_cells(job) for _, members in groups for job in members]))
    blank = ""
    for title, members in groups:
        if members:
            print(f"{blank}{colour(f'{title} ({len(members)})', 'bold')}")
            blank = "\n"
        for _ in members:
            print(next(lines))


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, at least one, its cells below those of the others."""
    widths = [max(map(visible_width, column)) for column in list(zip(*rows, strict=True))[:-1]]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    return [_line(row, widths, room) for row in rows]


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
    """Return target and action, state, repository, worker, age, and the reason or the title."""
    name = f":{job.name}" if job.name else ""
    told = job.reason_detail if job.has_ended or job.state == JobState.QUEUED else ""
    reason = " ".join(filter(None, [job.reason_text if job.has_ended and not job.verdict else "", told]))
    return (
        plain(f"{job.target}{name} {job.action}"),
        state_words(job),
        job.repository.slug,
        job.worker.name,
        format_age(job.finished_at or job.created_at),
        plain(" ".join((reason or job.title).split())),
    )
