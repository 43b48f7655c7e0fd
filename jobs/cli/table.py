"""Tables: one line for each row, laid out for the width of the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs import serializers
from jobs.cli.local_time import local_zone
from jobs.cli.output import plain, state_word, terminal_size, visible_width
from jobs.formats import format_age
from jobs.models import Job
from jobs.remote.offload_runner.screen.table import fit

_GAP = "  "
_LAST_WIDTH = 36  # columns that the last cell gets before other columns are left out
_LEFT_OUT = (3, 4, 2)  # of a table of jobs, in this order: worker, age, repository


def job_lines(jobs: Sequence[Job]) -> list[str]:
    """Return a line for each job: target and action, state, repository, worker, age, and the reason."""
    return table_lines([_job_cells(job) for job in jobs], _LEFT_OUT)


def _job_cells(job: Job) -> tuple[str, ...]:
    name = f":{job.name}" if job.name else ""
    return (
        plain(f"{job.target}{name} {job.action}"),
        state_word(job),
        job.repository.slug,
        job.worker.name,
        format_age(job.finished_at or job.created_at),
        plain(" ".join((serializers.headline(job, local_zone()) or job.title).split())),
    )


def table_lines(rows: Sequence[Sequence[str]], left_out: Sequence[int] = ()) -> list[str]:
    """Return a line for each row, its cells below those of the others.

    `left_out`: the columns that a narrow terminal does without, the first to go first.
    """
    if not rows:
        return []
    widths = [max(map(visible_width, column)) for column in list(zip(*rows, strict=True))[:-1]]
    room = terminal_size().columns if sys.stdout.isatty() else 0
    shown = list(range(len(widths)))
    for column in left_out:
        if room and sum(widths[i] + len(_GAP) for i in shown) + _LAST_WIDTH > room:
            shown.remove(column)
    return [_line([*(row[i] for i in shown), row[-1]], [widths[i] for i in shown], room) for row in rows]


def _line(cells: Sequence[str], widths: Sequence[int], room: int) -> str:
    """Return one line; its last cell is cut where the terminal ends (`room` columns; 0: no limit)."""
    start = _GAP.join(
        cell + " " * (width - visible_width(cell)) for cell, width in zip(cells, widths, strict=False)
    )
    left = room - visible_width(start) - len(_GAP)
    last = fit(cells[-1], left) if room else cells[-1]
    return f"{start}{_GAP}{last}".rstrip()
