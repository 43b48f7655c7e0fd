"""What machines and jobs cost: an estimate that counts what ran, and nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from jobs.cli.fleet.machine_output import describe_job, describe_machine
from jobs.models import Job, JobEvent, Worker
from jobs.operations import describe_worker
from jobs.providers.base import Price
from jobs.serializers import job_cost_json, worker_json
from jobs.workers import fleet
from jobs.workers.costs import (
    DISK_GONE,
    cost_of,
    cost_of_job,
    disk_spans_of,
    hours_of,
    shares,
    spans_of,
    total,
    work_spans_of,
)
from tests.jobs.workers.base import CloudTest
from tests.support.factories import make_job

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
HOUR = 0.05 + 0.03  # a small machine in memory, with its disk


def at(hours_ago: float) -> datetime:
    return NOW - timedelta(hours=hours_ago)


def hours(*moves: tuple[float, str]) -> float:
    return hours_of(spans_of([(at(ago), state) for ago, state in moves], NOW))


def test_a_machine_costs_from_its_first_boot_until_it_is_down() -> None:
    assert hours((10, "creating"), (9, "ready"), (6, "stopped")) == pytest.approx(3)
    assert hours((10, "creating"), (9, "ready"), (8, "unreachable"), (7, "ready"), (6, "stopping")) == 9
    assert hours((10, "creating"), (9, "absent"), (2, "booting")) == pytest.approx(2)
    assert hours((10, "creating")) == 0
    assert hours() == 0


def test_a_stop_that_was_noticed_late_counts_when_it_happened() -> None:
    assert hours((10, "ready"), (2, "unreachable"), (7, "stopped")) == pytest.approx(3)


def test_a_disk_costs_until_it_is_deleted() -> None:
    moves = [(at(10), "creating"), (at(9), "ready"), (at(5), "absent"), (at(1), DISK_GONE)]
    assert hours_of(disk_spans_of(moves, NOW)) == pytest.approx(8)
    price = Price(running=1.0, stopped=0.1, as_of="2026-01-01", source="made up")
    assert total(price, moves, None, NOW) == pytest.approx(4 * 1.0 + 4 * 0.1)
    assert total(price, moves, at(6), NOW) == pytest.approx(1 * 1.0 + 4 * 0.1)
    assert total(price, moves, at(0.5), NOW) == 0


def work(*events: tuple[float, str, str]) -> float:
    return hours_of(work_spans_of([(at(ago), kind, state) for ago, kind, state in events], NOW))


def test_a_job_is_at_work_while_it_prepares_and_runs() -> None:
    assert work((9, "state", "queued"), (6, "state", "preparing"), (5, "state", "running")) == 6
    assert work((9, "state", "queued")) == 0


def test_an_interrupted_job_costs_nothing_until_it_goes_on() -> None:
    assert work(
        (9, "state", "preparing"), (8, "state", "running"), (7, "state", "interrupted"),
        (3, "state", "queued"), (2, "state", "preparing"), (2, "started", ""), (1, "finished", ""),
        (0.5, "state", "succeeded"),
    ) == pytest.approx(3)  # fmt: skip


def test_an_end_that_was_read_late_counts_when_the_journal_says() -> None:
    """A laptop that was closed: the job ended at once, and was read eight hours later."""
    assert work(
        (9, "state", "preparing"), (9, "started", ""), (8, "finished", ""), (0, "state", "succeeded")
    ) == pytest.approx(1)  # fmt: skip


def test_time_that_several_jobs_ran_at_once_is_divided() -> None:
    found = shares([(1, at(4), at(2)), (2, at(3), at(1)), (1, at(0.5), NOW), (3, at(9), at(9))])
    assert found == pytest.approx({1: 2.0, 2: 1.5, 3: 0.0})
    assert shares([]) == {}


def _move(worker: Worker, ago: float, state: str, **data: Any) -> None:
    JobEvent.objects.create(worker=worker, kind="worker_state", at=at(ago), data={"state": state, **data})


def _job(worker: Worker, *states: tuple[float, str]) -> Job:
    job = make_job(
        worker=worker, state=states[-1][1], created_at=at(states[0][0]), started_at=at(states[0][0]),
        finished_at=None if states[-1][1] == "running" else at(states[-1][0]),
    )  # fmt: skip
    for ago, state in states:
        JobEvent.objects.create(job=job, kind="state", at=at(ago), data={"state": state})
    return job


class Rows(CloudTest):
    def worker(self, **config: Any) -> Worker:
        return Worker.objects.create(
            name="box", provider="memory", root=self.root, state="stopped", config=self.config(**config)
        )

    async def test_a_worker_so_far_and_this_month(self) -> None:
        worker = await sync_to_async(self.worker)()
        await sync_to_async(_move)(worker, 24 * 20, "ready")
        await sync_to_async(_move)(worker, 24 * 19, "stopped", since=at(24 * 20 - 2).isoformat())
        await sync_to_async(_move)(worker, 10, "booting")
        await sync_to_async(_move)(worker, 7, "stopped")
        cost = await cost_of(worker, NOW)
        assert cost is not None
        self.assertAlmostEqual(cost.hours, 5)
        self.assertAlmostEqual(cost.so_far, 5 * HOUR + (24 * 20 - 5) * 0.03)
        this_month = 9.5 * 24
        self.assertAlmostEqual(cost.month, 3 * HOUR + (this_month - 3) * 0.03)

    async def test_a_job_is_charged_its_share_while_machine_and_job_ran(self) -> None:
        worker = await sync_to_async(self.worker)()
        await sync_to_async(_move)(worker, 10, "booting")
        await sync_to_async(_move)(worker, 6, "stopped")  # taken away under the jobs
        await sync_to_async(_move)(worker, 3, "booting")
        one = await sync_to_async(_job)(
            worker, (12, "queued"), (9, "preparing"), (9, "running"), (5, "interrupted"), (4, "queued"),
            (2, "preparing"), (1, "succeeded"),
        )  # fmt: skip
        two = await sync_to_async(_job)(worker, (8, "preparing"), (8, "running"), (7, "succeeded"))
        late = await sync_to_async(_job)(worker, (0.5, "preparing"), (0.5, "running"))
        found = [await cost_of_job(job, NOW) for job in (one, two, late)]
        self.assertEqual([round(cost.hours, 3) for cost in found if cost], [2.5 + 1, 0.5, 0.5])
        assert found[0] is not None
        self.assertAlmostEqual(found[0].amount, 3.5 * HOUR)

    async def test_what_costs_nothing_has_no_cost(self) -> None:
        here = await sync_to_async(make_job)()
        simulated = await sync_to_async(self.worker)(simulated=True)
        there = await sync_to_async(make_job)(worker=simulated)
        queued = await sync_to_async(make_job)(worker=simulated, state="queued")
        for job in (here, there, queued):
            self.assertIsNone(await cost_of_job(job))
            self.assertEqual(describe_job(job, None), [])
        self.assertIsNone(job_cost_json(None))
        overview = await describe_worker(simulated, 1)
        self.assertIsNone(overview.cost)
        self.assertIn("it costs nothing", describe_machine(overview)[-1])

    async def test_the_command_line_says_it_as_an_estimate(self) -> None:
        row, _ = await self.provision()
        overview = await describe_worker(row, 0)
        (line,) = describe_machine(overview)
        self.assertIn("About 0.08 USD an hour while it runs", line)
        self.assertIn("this month", line)
        self.assertIn("(estimate, prices of 2026-01-01: made up)", line)
        shown = worker_json(row, idle=overview.idle, cost=overview.cost)
        assert shown["cost"] is not None
        self.assertEqual(
            (shown["stops_at"], shown["cost"]["hour"], shown["cost"]["estimate"]), (None, 0.08, True)
        )
        job = await sync_to_async(_job)(row, (3, "running"))
        await JobEvent.objects.filter(worker=row).aupdate(at=at(3))
        cost = await cost_of_job(job, NOW)
        data = job_cost_json(cost)
        assert data is not None
        self.assertEqual(
            {key: data[key] for key in ("amount", "currency", "hours", "estimate")},
            {"amount": 0.24, "currency": "USD", "hours": 3.0, "estimate": True},
        )
        self.assertIn(
            "Cost about 0.24 USD: its share of box is 3 h 00 min (estimate", describe_job(job, cost)[0]
        )

    async def test_a_deleted_disk_is_on_record(self) -> None:
        row, _ = await self.provision()
        await fleet.delete(row)
        self.assertFalse(await JobEvent.objects.filter(kind=DISK_GONE).aexists())
        await fleet.delete(await self.row(), with_disk=True)
        self.assertTrue(await JobEvent.objects.filter(kind=DISK_GONE, worker=row).aexists())
