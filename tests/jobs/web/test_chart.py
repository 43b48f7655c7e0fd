"""When tasks ran: one axis, the chain that the length follows from, and times that are no times."""

from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.dashboard.job.chart import Chart
from tests.support.factories import make_task

START = datetime(2026, 1, 1, tzinfo=UTC)


def _task(id: str, begin: float, seconds: float, *needs: str, **fields: Any) -> dict[str, Any]:
    moment = (START + timedelta(seconds=begin)).isoformat()
    return make_task(id, started_at=moment, seconds=seconds, needs=list(needs), **fields)


def test_the_longest_chain_is_what_the_end_waited_for() -> None:
    tasks = [
        _task("build", 0, 40), _task("lint", 40, 10, "build"), _task("test", 40, 50, "build"),
        _task("verdict", 90, 10, "lint", "test"),
    ]  # fmt: skip
    chart = Chart.of(tasks, START)
    assert chart is not None
    assert (chart.path, chart.path_took, chart.total) == (
        ["build", "test", "verdict"],
        "1 min 40 s",
        "1 min 40 s",
    )
    test, lint = chart.bars["test"], chart.bars["lint"]
    assert (test.x, test.width, test.begin, test.end) == ("40.00%", "50.00%", "40 s", "1 min 30 s")
    assert (test.critical, lint.critical) == (True, False)


def test_a_pause_between_two_runs_is_left_out_and_a_running_task_lasts_until_now() -> None:
    tasks = [_task("build", 0, 30), _task("test", 7230, 0, "build", state="running")]
    chart = Chart.of(tasks, START + timedelta(seconds=7240))
    assert chart is not None
    assert (chart.has_pauses, chart.total) == (True, "40 s")
    assert (chart.bars["test"].x, chart.bars["test"].width) == ("75.00%", "25.00%")


def test_what_a_worker_says_of_times_and_needs_is_not_trusted() -> None:
    good = [_task("a", 0, 5, "b"), _task("b", 5, 5, "a", "no-such-task")]
    bad = [
        _task("c", 0, float("nan")), _task("d", 0, 1e300), _task("e", 0, -5),
        make_task("f", started_at="<svg onload=x>", seconds=1.0), make_task("g", started_at=None),
        make_task("h", started_at="9999-12-31T23:59:59+00:00", seconds="1"),
    ]  # fmt: skip
    chart = Chart.of([*good, *bad], START)
    assert chart is not None
    assert sorted(chart.bars) == ["a", "b", "e"]
    assert sorted(chart.path) == ["a", "b"]
    assert chart.total == "10 s"
    assert all(float(bar.x[:-1]) >= 0 and float(bar.width[:-1]) <= 100 for bar in chart.bars.values())
    assert Chart.of(good[:1], START) is None
