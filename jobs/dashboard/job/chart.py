"""When each task of a job ran, as bars on one axis, and the chain that the job's length follows from. Pure.

Times come from the worker: what is no sensible moment has no bar.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobs.formats import format_duration
from jobs.states import TaskState

_LONGEST = timedelta(days=30).total_seconds()
_PAUSE = 60.0  # seconds without a running task that the axis leaves out
_LEAST_WIDTH = 0.8  # per cent: a bar of a short task is still seen

Span = tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """A task on the axis: `x` and `width` in per cent, `begin` and `end` in words, since the job's start."""

    x: str
    width: str
    begin: str
    end: str
    critical: bool
    running: bool


@dataclass(frozen=True)
class Chart:
    """The bars of a job by task id; `total` is the length of the axis.

    `path`: ids of the tasks that each waited for the one before, up to the task that ended last. `path_took`:
    how long they ran together. `has_pauses`: the axis leaves out times in which no task ran.
    """

    bars: Mapping[str, Bar]
    total: str
    path: Sequence[str]
    path_took: str
    has_pauses: bool

    @classmethod
    def of(cls, tasks: Sequence[Mapping[str, Any]], now: datetime) -> Chart | None:
        """Lay out the tasks of a job; None before the second task has started.

        `now`: when a running task ends for the chart.
        """
        spans = {str(task["id"]): span for task in tasks if (span := _span(task, now))}
        if len(spans) < 2:
            return None
        axis = _Axis(spans.values())
        path = _critical_path(tasks, spans)
        running = {str(task["id"]) for task in tasks if task.get("state") == TaskState.RUNNING}
        bars = {id: axis.bar(span, critical=id in path, running=id in running) for id, span in spans.items()}
        took = sum(spans[id][1] - spans[id][0] for id in path)
        return cls(bars, format_duration(axis.length), path, format_duration(took), axis.has_pauses)


def _span(task: Mapping[str, Any], now: datetime) -> Span | None:
    """Return when a task began and ended, in seconds since the epoch."""
    try:
        begin = datetime.fromisoformat(str(task.get("started_at"))).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    seconds = task.get("seconds")
    if task.get("state") == TaskState.RUNNING:
        seconds = now.timestamp() - begin
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return None
    # A worker's clock may be ahead of this one.
    return (begin, begin + max(0.0, seconds)) if seconds < _LONGEST else None


def _critical_path(tasks: Sequence[Mapping[str, Any]], spans: Mapping[str, Span]) -> list[str]:
    """Return, from first to last, the tasks that the end waited for: of each one's needs, the last to end."""
    needs = {str(task["id"]): [str(need) for need in task.get("needs") or ()] for task in tasks}
    path = [max(spans, key=lambda id: spans[id][1])]
    # A plan has no cycle, but what is shown came from a worker.
    while before := [id for id in needs[path[-1]] if id in spans and id not in path]:
        path.append(max(before, key=lambda id: spans[id][1]))
    return path[::-1]


class _Axis:
    """Seconds at which tasks ran, without the pauses between: a job resumed days later is one line."""

    def __init__(self, spans: Collection[Span]) -> None:
        self._cuts: list[Span] = []
        ordered = sorted(spans)
        self._start = until = ordered[0][0]
        for begin, end in ordered:
            if begin - until > _PAUSE:
                self._cuts.append((until, begin))
            until = max(until, end)
        self.has_pauses = bool(self._cuts)
        self.length = self._at(until)

    def _at(self, moment: float) -> float:
        left_out = sum(end - begin for begin, end in self._cuts if end <= moment)
        return moment - self._start - left_out

    def bar(self, span: Span, *, critical: bool, running: bool) -> Bar:
        begin, end = self._at(span[0]), self._at(span[1])
        whole = self.length or 1.0
        width = max(_LEAST_WIDTH, (end - begin) / whole * 100)
        x = min(begin / whole * 100, 100 - width)
        words = format_duration(begin), format_duration(end)
        return Bar(f"{x:.2f}%", f"{width:.2f}%", *words, critical=critical, running=running)
