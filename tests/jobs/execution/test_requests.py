"""Requests about machines and jobs are recorded, carried out by the reconciler, and told when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

from asgiref.sync import sync_to_async
from django.utils import timezone

from jobs import execution, operations
from jobs.cli.request import actor
from jobs.errors import ConnectFailed, NotFound, Refused
from jobs.execution import requests
from jobs.models import Job, JobEvent, Worker, WorkerRequest
from jobs.providers.base import InstanceState
from jobs.reconciler import DUTIES, Reconciler
from jobs.states import RequestKind
from jobs.workers import idle
from jobs.workers.requests import abegin_operation, latest_failure, open_requests
from tests.jobs.workers.base import CloudTest
from tests.support.cli import run_here
from tests.support.factories import make_job, make_worker

WHO = "mira (dashboard)"


class RequestTest(CloudTest):
    """A machine in memory that is up, and one turn of the loop at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.loop = Reconciler(DUTIES, tick=0.01)

    async def up(self) -> Worker:
        return (await self.provision())[0]

    async def turn(self) -> None:
        """Let the loop find requests, and end what it began."""
        await self.loop.once()
        mine = [task for (duty, _), task in self.loop._tasks.items() if duty == "request"]
        async with asyncio.timeout(60):
            await asyncio.gather(*mine, return_exceptions=True)
        self.loop._collect()

    async def open(self) -> list[str]:
        """Return the kinds of the open requests."""
        return [request.kind async for request in open_requests()]

    async def failure(self) -> str:
        """Return why the last request failed; empty when it did not."""
        failed = await sync_to_async(latest_failure)(await self.row())
        return failed.error if failed is not None else ""

    async def job(self, row: Worker, state: str = "running") -> Job:
        return await sync_to_async(make_job)(worker=row, state=state, worktree="")

    async def asked(self) -> list[tuple[str, str, object]]:
        events = JobEvent.objects.filter(kind__in=["asked", "kept", "failed"]).order_by("id")
        return [
            (e.kind, e.actor, e.data.get("what") or e.data.get("until") or e.data["text"])
            async for e in events
        ]

    async def ended(self) -> None:
        """End what the loop began apart from the requests."""
        stop = asyncio.Event()
        stop.set()
        await self.loop.run(stop)


class Keeping(RequestTest):
    async def test_the_machine_is_told_and_the_record_says_who_asked(self) -> None:
        row = await self.up()
        until = await execution.request_keep(row, 4, WHO)
        file = Path(self.root, "state", "keep-until")
        self.assertFalse(file.exists(), "a page only records the request")
        await self.turn()
        self.assertEqual(file.read_text().strip(), f"{until:%Y-%m-%dT%H:%M:%SZ}")
        row = await self.row()
        self.assertEqual(await self.open(), [])
        self.assertEqual(datetime.fromisoformat(row.facts["kept"]["until"]), until)
        self.assertEqual(
            [(kind, who) for kind, who, _ in await self.asked()], [("asked", WHO), ("kept", WHO)]
        )
        found = idle.idle_of(row)
        self.assertEqual(found.kept_until if found else None, until)
        await execution.request_keep(row, 0, WHO)
        await self.turn()
        self.assertLess(datetime.fromisoformat(file.read_text().strip()), timezone.now())
        self.assertIsNone(idle.idle_of(await self.row()))
        await self.ended()

    async def test_what_cannot_be_kept_is_refused(self) -> None:
        row = await self.up()
        await Worker.objects.filter(id=row.id).aupdate(state="stopped")
        with self.assertRaisesRegex(Refused, "box is stopped"):
            await execution.request_keep(await self.row(), 1, WHO)
        mine = await sync_to_async(make_worker)()
        for ask in (
            execution.request_keep(mine, 1, WHO),
            execution.request_start(mine, WHO),
            execution.request_stop(mine, WHO),
        ):
            with self.assertRaisesRegex(Refused, "which Offload uses and did not make"):
                await ask
        self.assertEqual(await self.asked(), [])

    async def test_a_line_that_is_down_is_tried_again_and_not_for_ever(self) -> None:
        row = await self.up()
        await execution.request_keep(row, 4, WHO)
        broken = ConnectFailed("No answer.")
        with mock.patch.object(idle, "connect", side_effect=broken):
            request = await WorkerRequest.objects.aget()
            with self.assertRaises(ConnectFailed):
                await requests.carry_out(request.id)
            self.assertEqual(await self.open(), ["keep"])
            await WorkerRequest.objects.aupdate(requested_at=timezone.now() - timedelta(hours=1))
            await requests.carry_out(request.id)
        self.assertEqual(await self.open(), [])
        self.assertIn("Keeping it up failed: No answer.", await self.failure())
        self.assertEqual((await self.asked())[-1][:2], ("failed", WHO))

    async def test_a_newer_request_replaces_the_older(self) -> None:
        row = await self.up()
        await execution.request_keep(row, 1, WHO)
        older = await WorkerRequest.objects.aget()
        newer = await execution.request_keep(row, 12, WHO)
        await requests.carry_out(older.id)
        self.assertEqual(await self.open(), ["keep"])
        await self.turn()
        row = await self.row()
        self.assertEqual(datetime.fromisoformat(row.facts["kept"]["until"]), newer)
        await self.ended()


class CommandLine(RequestTest):
    async def test_it_leaves_the_same_record(self) -> None:
        await self.up()
        with contextlib.redirect_stdout(io.StringIO()) as out:
            for verb in ("keep", "stop", "start"):
                self.assertEqual(await run_here("fleet", verb, "box", "--json"), 0)
            row = await self.row()
            job = await self.job(row)
            with self.assertRaisesRegex(Refused, f"box is at work: {job.session}"):
                await run_here("fleet", "stop", "box", "--json")
        self.assertEqual([(kind, who) for kind, who, _ in await self.asked()], [
            ("kept", actor()), ("asked", actor()), ("asked", actor()),
        ])  # fmt: skip
        self.assertIn('"until"', out.getvalue())
        self.assertTrue(Path(self.root, "state", "keep-until").exists())


class Power(RequestTest):
    async def test_a_stop_and_a_start_come_about(self) -> None:
        row = await self.up()
        await execution.request_stop(row, WHO)
        self.assertEqual((await self.row()).state, "ready", "a page only records the request")
        await self.turn()
        row = await self.row()
        self.assertEqual((row.state, row.desired, await self.open()), ("stopped", "down", []))
        self.assertEqual(self.cloud.instances["box"].state, InstanceState.STOPPED)
        with self.assertRaisesRegex(Refused, "stopped already"):
            await execution.request_stop(row, WHO)
        await execution.request_start(row, WHO)
        await self.turn()
        row = await self.row()
        self.assertEqual((row.state, row.desired), ("ready", "up"))
        with self.assertRaisesRegex(Refused, "no stopped machine to start"):
            await execution.request_start(row, WHO)
        self.assertEqual([what for _, _, what in await self.asked()], ["stop", "start"])
        await self.ended()

    async def test_jobs_stand_against_a_stop_unless_it_is_forced(self) -> None:
        row = await self.up()
        job = await self.job(row)
        with self.assertRaisesRegex(Refused, f"box is at work: {job.session}"):
            await execution.request_stop(row, WHO)
        await execution.request_stop(row, WHO, force=True)
        await self.turn()
        await job.arefresh_from_db()
        self.assertEqual((job.state, (await self.row()).state), ("interrupted", "stopped"))
        self.assertIn(f"on request of {WHO}", job.reason_detail)
        await self.ended()

    async def test_a_job_that_began_meanwhile_stands_against_it_too(self) -> None:
        row = await self.up()
        await execution.request_stop(row, WHO)
        job = await self.job(row)
        await self.turn()
        row = await self.row()
        self.assertEqual((row.state, row.desired), ("ready", "up"))
        self.assertIn(f"Stopping it failed: box is at work: {job.session}", await self.failure())
        self.assertEqual(await self.open(), [])
        await self.ended()

    async def test_a_start_that_fails_is_told_and_does_not_come_later_by_itself(self) -> None:
        row = await self.up()
        await Worker.objects.filter(id=row.id).aupdate(state="stopped")
        await execution.request_start(await self.row(), WHO)
        self.cloud.instances["box"] = self.cloud.instances["box"].__class__("box", InstanceState.STOPPED)
        self.cloud.capacity = 0
        await self.turn()
        row = await self.row()
        self.assertIn("Starting it failed: Starting a machine in memory failed", await self.failure())
        self.assertEqual(await self.open(), [])
        await execution.request_start(row, WHO)
        self.assertEqual(await self.failure(), "")
        self.cloud.capacity = 10
        await self.turn()
        self.assertEqual((await self.row()).state, "ready")
        await self.ended()

    async def test_a_stop_ends_a_start_that_takes_long(self) -> None:
        row = await self.up()
        await execution.request_stop(row, WHO)
        await self.turn()
        boot = tempfile.mkdtemp(dir=self.root)  # where its boot never says that it is through
        config = {**(await self.row()).config, "boot_file": f"{boot}/never.json"}
        await Worker.objects.filter(id=row.id).aupdate(config=config)
        await execution.request_start(await self.row(), WHO)
        await self.loop.once()
        for _ in range(500):
            if (await self.row()).state == "booting":
                break
            await asyncio.sleep(0.02)
        row = await self.row()
        self.assertEqual(row.state, "booting")
        await execution.request_stop(row, WHO)
        for _ in range(3):  # one turn ends the start, the next begins the stop
            await self.turn()
        row = await self.row()
        self.assertEqual((row.state, row.desired), ("stopped", "down"))
        self.assertEqual(await self.open(), [])
        await self.ended()

    async def test_a_machine_that_is_gone_is_not_made_by_a_start(self) -> None:
        row = await self.up()
        self.cloud.instances.clear()
        await Worker.objects.filter(id=row.id).aupdate(state="stopped")
        await execution.request_start(await self.row(), WHO)
        await self.turn()
        row = await self.row()
        self.assertEqual((row.state, self.cloud.instances), ("absent", {}))
        self.assertIn("There is no machine box", await self.failure())
        with self.assertRaises((Refused, NotFound)):
            await execution.request_start(row, WHO)
        await self.ended()


class Removal(RequestTest):
    async def removal(self, job: Job) -> tuple[str, str]:
        found = await execution.removal_of(job)
        assert found is not None
        return found.state, found.error

    async def test_it_is_carried_out_by_the_loop_and_its_failure_is_told(self) -> None:
        row = await self.up()
        job = await self.job(row, "succeeded")
        with self.assertRaisesRegex(Refused, "is running"):
            await execution.request_removal((await self.job(row)).id, WHO)
        await execution.request_removal(job.id, WHO)
        self.assertEqual(await self.removal(job), ("pending", ""))
        with mock.patch.object(requests, "remove", side_effect=Refused("It has work that is nowhere else.")):
            await self.turn()
        self.assertEqual(
            await self.removal(job), ("failed", "Removing it failed: It has work that is nowhere else.")
        )
        await execution.request_removal(job.id, WHO, force=True)
        with mock.patch.object(requests, "remove") as remove:
            await self.turn()
        remove.assert_awaited_once_with(job.id, force=True, actor=WHO)
        self.assertEqual(await self.removal(job), ("done", ""))
        await self.ended()


class Rebuilding(RequestTest):
    async def test_the_machine_is_made_again_and_its_jobs_can_go_on(self) -> None:
        row = await self.up()
        job = await self.job(row)
        with self.assertRaisesRegex(Refused, "box is at work"):
            await execution.request_rebuild(row, WHO)
        await execution.request_rebuild(row, WHO, force=True)
        with self.assertRaisesRegex(Refused, "is being rebuilt already"):
            await execution.request_rebuild(row, WHO, force=True)
        # A command does not do the same at the same time.
        with self.assertRaisesRegex(Refused, "is being rebuilt on request of mira"):
            await operations.plan_rebuild("box", force=True)
        await self.turn()
        self.assertEqual(await self.open(), [])
        self.assertEqual(await self.failure(), "")
        self.assertEqual((await self.row()).state, "ready")
        self.assertEqual(self.cloud.requests.count(("create", "box")), 2)
        await job.arefresh_from_db()
        self.assertEqual((job.state, job.reason), ("interrupted", "worker_changed"))
        await self.ended()

    async def test_a_rebuild_of_a_command_is_left_to_it(self) -> None:
        row = await self.up()
        await abegin_operation(row.id, RequestKind.REBUILD)
        await self.turn()
        self.assertEqual(await self.open(), ["rebuild"])
        await self.ended()
