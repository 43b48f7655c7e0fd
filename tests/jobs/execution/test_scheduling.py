"""Which job is next and which worker it gets: one worker, pools that grow, many jobs, crashes between."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection, connections
from django.test import TransactionTestCase
from django.utils import timezone

from jobs import operations
from jobs.errors import NotFound, Refused, UsageError
from jobs.execution import scheduling
from jobs.execution.machines import wake
from jobs.execution.placement import place_request
from jobs.models import Job, Pool, Worker
from jobs.reconciler import pools as keeping
from jobs.states import JobState, WorkerDesired
from jobs.transitions import move_job
from jobs.workers import fleet
from jobs.workers.capacity import capacity_of, note_capacity, read_capacity
from tests.jobs.workers.base import CloudTest
from tests.support.factories import make_job, make_repository, make_worker

GIB = 1024**3
amake_job = sync_to_async(make_job)


def make_queued(**columns: Any) -> Job:
    """Return a queued job."""
    return make_job(state="queued", **columns)


def make_box(name: str, pool: Pool | None = None, *, cores: float = 1, free: float = 4 * GIB) -> Worker:
    """Return a worker behind ssh with two slots for each core, as measured just now."""
    fact = {"cores": cores, "load": 0.0, "memory": 64 * GIB, "free": free, "at": timezone.now().isoformat()}
    return make_worker(name, provider="ssh", root=f"/srv/{name}", facts={"capacity": fact}, pool=pool)


def finish(job: Job) -> None:
    """Have a job end."""
    move_job(job.id, JobState.RUNNING)
    move_job(job.id, JobState.SUCCEEDED)


def at_once(jobs: list[Job]) -> int:
    """Ask for the admission of all jobs at the same time; return how many were admitted."""
    admitted: list[bool] = []
    gate = threading.Barrier(len(jobs))

    def admit(job: Job) -> None:
        gate.wait()
        try:
            admitted.append(scheduling.admit(job.id))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=admit, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(admitted)


class OneWorker(TransactionTestCase):
    def limit(self, jobs: int) -> None:
        values = {**settings.OFFLOAD.values, "max_jobs": jobs}
        self.enterContext(self.settings(OFFLOAD=replace(settings.OFFLOAD, values=values)))

    def test_the_limit_holds_and_the_wait_is_explained(self) -> None:
        self.limit(1)
        busy, waiting = make_job(state="running"), make_queued()
        self.assertFalse(scheduling.admit(waiting.id))
        waiting.refresh_from_db()
        self.assertEqual((waiting.state, waiting.reason), ("queued", "waiting_for_slot"))
        self.assertIn("the limit is 1", waiting.reason_detail)
        move_job(busy.id, JobState.SUCCEEDED)
        self.assertTrue(scheduling.admit(waiting.id))

    def test_ten_at_once_for_three_slots(self) -> None:
        self.limit(3)
        self.assertEqual(at_once([make_queued() for _ in range(10)]), 3)
        self.assertEqual(Job.objects.filter(state=JobState.PREPARING).count(), 3)
        self.assertFalse(connection.in_atomic_block)

    def test_slots_are_those_of_the_worker_and_not_of_this_computer(self) -> None:
        large, small = make_box("large", cores=32), make_box("small", cores=1)
        jobs = {box: [make_queued(worker=box) for _ in range(20)] for box in (large, small)}
        counts = {box.name: sum(scheduling.admit(job.id) for job in jobs[box]) for box in jobs}
        self.assertEqual(counts, {"large": 20, "small": 2})

    def test_a_worker_without_memory_gets_no_second_job(self) -> None:
        box = make_box("box", cores=8, free=0.1 * GIB)
        self.assertTrue(scheduling.admit(make_queued(worker=box).id))
        self.assertFalse(scheduling.admit(make_queued(worker=box).id))


class Capacities(TransactionTestCase):
    def test_what_a_worker_says_of_itself_is_checked(self) -> None:
        now = timezone.now()
        cases: tuple[Any, ...] = (
            None,
            [],
            "many",
            {},
            {"cores": 0},
            {"cores": True},
            {"cores": 1e30},
            {"cores": "8"},
        )
        for nonsense in cases:
            self.assertIsNone(read_capacity(nonsense, now), nonsense)
        found = read_capacity({"cores": 8, "load": -1, "memory": float("nan"), "free": "x"}, now)
        assert found is not None
        self.assertEqual((found.slots, found.load, found.memory, found.free_share), (16, None, None, 1.0))

    async def test_it_is_kept_with_its_time(self) -> None:
        box = await sync_to_async(make_worker)("box", provider="ssh", root="/srv/box")
        self.assertIsNone(capacity_of(box))
        await note_capacity(box.id, {"cores": 4, "memory": 2 * GIB, "extra": "x" * 10_000})
        found = capacity_of(await Worker.objects.aget(id=box.id))
        assert found is not None
        self.assertEqual(found.slots, 2)  # its memory is for two


class Pools(TransactionTestCase):
    def setUp(self) -> None:
        self.pool = Pool.objects.create(name="big")

    def test_a_job_gets_the_worker_with_the_largest_free_part(self) -> None:
        small, large = make_box("small", self.pool), make_box("large", self.pool, cores=4)
        jobs = [make_queued(pool=self.pool, worker=small) for _ in range(11)]
        self.assertEqual(sum(scheduling.admit(job.id) for job in jobs), 10)
        for box, at_work in ((small, 2), (large, 8)):
            self.assertEqual(box.jobs.filter(state="preparing").count(), at_work)
        jobs[-1].refresh_from_db()
        self.assertIn("10 jobs are at work in the pool big of 2 workers", jobs[-1].reason_detail)

    def test_who_waits_comes_before_a_batch_that_has_not_waited_long(self) -> None:
        box = make_box("box", self.pool, cores=1)
        now = timezone.now()
        batch = make_queued(pool=self.pool, worker=box, batch=True, created_at=now - timedelta(minutes=5))
        patient = make_queued(pool=self.pool, worker=box, batch=True, created_at=now - timedelta(hours=1))
        person = make_queued(pool=self.pool, worker=box, created_at=now)
        waiting = list(Job.objects.select_related("repository", "worker"))
        self.assertEqual([job.id for job in scheduling.choose_startable(waiting)], [patient.id, person.id])
        self.assertEqual(scheduling.count_ahead(batch), 2)
        batch.refresh_from_db()
        self.assertEqual(batch.reason, "waiting_for_slot")

    def test_a_launch_under_way_that_comes_first_keeps_the_last_slot(self) -> None:
        box = make_box("box", self.pool)
        make_job(state="running", worker=box)
        later = {"lease_owner": "elsewhere:1:x", "lease_until": timezone.now() + timedelta(minutes=1)}
        person = make_queued(pool=self.pool, worker=box, **later)
        batch = make_queued(pool=self.pool, worker=box, batch=True)
        self.assertFalse(scheduling.admit(batch.id))
        self.assertTrue(scheduling.admit(person.id))

    def test_what_is_unreachable_deleted_or_would_run_strangers_code_as_the_user_is_left_out(self) -> None:
        make_worker("bare", pool=self.pool)
        Worker.objects.filter(id=make_box("silent", self.pool).id).update(state="unreachable")
        Worker.objects.filter(id=make_box("gone", self.pool).id).update(desired="gone")
        job = make_queued(pool=self.pool, worker=Worker.objects.get(name="silent"))
        self.assertFalse(scheduling.admit(job.id))
        job.refresh_from_db()
        self.assertIn("has no worker that may run it", job.reason_detail)

    def test_a_job_with_files_stays_where_they_are(self) -> None:
        full, free = make_box("full", self.pool), make_box("free", self.pool)
        for _ in range(2):
            make_job(state="running", worker=full)
        job = make_queued(pool=self.pool, worker=full, worktree="/srv/full/worktrees/x")
        self.assertFalse(scheduling.admit(job.id))
        self.assertEqual(free.jobs.count(), 0)

    def test_a_thousand_jobs_on_twenty_workers(self) -> None:
        """No worker has more than its slots, no machine too many is made, and every job has its turn."""
        Pool.objects.filter(id=self.pool.id).update(provider="memory", root="/srv/{name}", maximum=20)
        first = make_box("first", self.pool)
        Worker.objects.filter(id=first.id).update(provider="memory")
        repository, start = make_repository(), timezone.now() - timedelta(hours=2)
        columns = {"repository": repository, "worker": first, "pool": self.pool, "action": "review"}
        Job.objects.bulk_create(
            Job(
                session=f"s{n}",
                target=f"#{n}",
                batch=n % 3 > 0,
                created_at=start + timedelta(seconds=n),
                **columns,
            )
            for n in range(1000)
        )
        order: list[int] = []
        for _ in range(200):
            waiting = Job.objects.filter(state="queued").select_related("repository", "worker")
            startable = scheduling.choose_startable(list(waiting))
            if not startable:
                break
            for job in startable:
                self.assertTrue(scheduling.admit(job.id))
                order.append(job.id)
            busy = [worker.jobs.filter(state="preparing").count() for worker in self.pool.workers.all()]
            self.assertLessEqual(max(busy), 2)
            self.assertLessEqual(len(busy), 20)
            Job.objects.filter(state="preparing").update(state="succeeded")
        self.assertEqual(order, sorted(order))  # all of them have waited for long: the oldest first
        self.assertEqual((len(order), self.pool.workers.count()), (1000, 20))

    def test_claims_at_once_make_no_machine_too_many(self) -> None:
        Pool.objects.filter(id=self.pool.id).update(provider="memory", root="/srv/{name}", maximum=3)
        somewhere = make_box("somewhere")
        jobs = [make_queued(pool=self.pool, worker=somewhere) for _ in range(10)]
        self.assertEqual(at_once(jobs), 6)  # two on a worker that was never measured
        self.assertEqual(
            sorted(self.pool.workers.values_list("name", flat=True)), ["big-1", "big-2", "big-3"]
        )

    def test_a_price_ceiling_counts_for_all_machines_together(self) -> None:
        Pool.objects.filter(id=self.pool.id).update(
            provider="memory", root="/srv/{name}", maximum=9, price=0.1, ceiling=0.3
        )
        somewhere = make_box("somewhere")
        admitted = sum(scheduling.admit(make_queued(pool=self.pool, worker=somewhere).id) for _ in range(20))
        self.assertEqual((admitted, self.pool.workers.count()), (6, 3))


class MachinesOfPools(CloudTest):
    async def pool(self, **figures: Any) -> Pool:
        """Return a pool that makes machines like `box`."""
        await self.provision()
        plan = await operations.plan_pool(operations.PoolRequest("big", like="box", **figures))
        assert plan.confirmation is not None
        return await operations.save_pool(plan)

    async def keep(self) -> None:
        """Do once what the reconciler does for pools, and forget what it has noted."""
        for work in [work async for work in keeping.KeepPools().find()]:
            await work.run()

    async def names_up(self) -> list[str]:
        rows = Worker.objects.filter(pool__name="big", state="ready").order_by("name")
        return [name async for name in rows.values_list("name", flat=True)]

    async def test_a_job_that_waits_has_a_machine_made(self) -> None:
        await self.pool(maximum=1)
        placed = await place_request(await sync_to_async(make_repository)(), pool="big")
        job = await amake_job(state="queued", worker=placed.worker, pool=placed.pool)
        self.assertTrue(await scheduling.aadmit(job.id))
        await job.arefresh_from_db()
        row = await wake(await Worker.objects.aget(id=job.worker_id), self.steps.append, job_id=job.id)
        self.assertEqual((row.name, row.state), ("big-1", "ready"))
        self.assertIn("big-1", self.cloud.instances)

    async def test_a_claim_whose_process_died_is_used_by_the_next(self) -> None:
        await self.pool(maximum=2)
        repository = await sync_to_async(make_repository)()
        for _ in range(3):  # each died after its claim
            await place_request(repository, pool="big")
        self.assertEqual([worker.name async for worker in Worker.objects.filter(pool__name="big")], ["big-1"])

    async def test_minimum_and_warm_machines_are_up_and_kept_up(self) -> None:
        await self.pool(maximum=3, minimum=1, warm=1)
        await self.keep()
        self.assertEqual(await self.names_up(), ["big-1"])
        await amake_job(state="running", worker=await self.row("big-1"))
        await self.keep()
        self.assertEqual(await self.names_up(), ["big-1", "big-2"])
        await self.keep()
        kept = (await self.row("big-2")).facts["kept"]
        self.assertEqual(kept["by"], "pool")
        self.assertNotIn("kept", (await self.row("big-1")).facts)

    async def test_a_machine_that_turned_itself_off_is_started_before_another_is_made(self) -> None:
        await self.pool(maximum=3, warm=1)
        await self.keep()
        row = await self.row("big-1")
        await fleet.stop(row)
        await Worker.objects.filter(id=row.id).aupdate(desired=WorkerDesired.UP)
        await self.keep()
        self.assertEqual(await self.names_up(), ["big-1"])
        self.assertEqual(await Worker.objects.filter(pool__name="big").acount(), 1)

    async def test_what_was_off_for_a_day_is_deleted_unless_files_of_a_job_are_there(self) -> None:
        pool = await self.pool(maximum=3, warm=2)
        await self.keep()
        await Pool.objects.filter(id=pool.id).aupdate(warm=0)
        await amake_job(worker=await self.row("big-2"))
        for name in ("big-1", "big-2"):
            row = await self.row(name)
            await fleet.stop(row)
            long_ago = timezone.now() - timedelta(hours=25)
            await Worker.objects.filter(id=row.id).aupdate(desired=WorkerDesired.UP, state_since=long_ago)
        await self.keep()
        self.assertEqual(sorted(self.cloud.instances), ["big-2", "box"])
        self.assertEqual({name for name, _ in self.cloud.disks}, {"big-2", "box"})
        # Its row is used again.
        job = await amake_job(state="queued", worker=await self.row("box"), pool=pool)
        await fleet.delete(await self.row("big-2"), with_disk=True)
        self.assertTrue(await scheduling.aadmit(job.id))
        await job.arefresh_from_db()
        self.assertEqual((await self.row("big-1")).id, job.worker_id)

    async def test_impossible_pools_are_refused_with_the_reason(self) -> None:
        await self.provision()
        await sync_to_async(make_box)("desk")
        cases: list[tuple[dict[str, Any], str]] = [
            ({"maximum": 2}, "has no template"),
            ({"like": "desk"}, "Offload cannot make machines like desk"),
            (
                {"like": "box", "maximum": 2, "warm": 3},
                "--warm 3 is more than the 2 machines that --max allows",
            ),
            ({"like": "box", "maximum": 9, "minimum": 1, "ceiling": 0.01}, "the price ceiling allows"),
            ({"like": "box", "maximum": 1000}, "more than 200"),
            ({"leave": ("box",)}, "is not in the pool"),
        ]
        for figures, said in cases:
            with self.assertRaisesRegex(UsageError, said):
                await operations.plan_pool(operations.PoolRequest("new", **figures))
        with self.assertRaises(NotFound):
            await place_request(await sync_to_async(make_repository)(), pool="new")
        with self.assertRaises(UsageError):
            await place_request(await sync_to_async(make_repository)(), worker="box", pool="new")

    async def test_workers_join_and_leave_and_stay_when_the_pool_goes(self) -> None:
        box = await sync_to_async(make_box)("desk")
        await operations.save_pool(await operations.plan_pool(operations.PoolRequest("lab", add=("desk",))))
        with self.assertRaisesRegex(Refused, "in another pool"):
            await operations.plan_pool(operations.PoolRequest("other", add=("desk",)))
        (overview,) = await operations.list_pools("lab")
        self.assertEqual(([worker.name for worker in overview.workers], overview.slots), (["desk"], 2))
        job = await amake_job(state="queued", worker=box, pool=overview.pool)
        with self.assertRaisesRegex(Refused, "1 jobs wait"):
            await operations.remove_pool("lab")
        await job.adelete()
        await operations.remove_pool("lab")
        self.assertIsNone((await self.row("desk")).pool_id)
