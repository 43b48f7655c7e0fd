"""Changes of a machine under jobs, stops that die or do not reach everything, and who waits meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from jobs import execution
from jobs.cli.request import make_request
from jobs.cli.waiting import EXIT_JOB_FAILED, wait_until_ended
from jobs.errors import NoCapacity, Refused, UsageError
from jobs.models import Job, Worker
from jobs.operations.interruption import Interrupted
from jobs.providers.base import InstanceState
from jobs.simulator import running
from jobs.states import JobState
from jobs.transitions import amove_job
from jobs.workers import fleet, sweep
from tests.jobs.execution.base import until
from tests.jobs.execution.test_stops import StopTest
from tests.jobs.workers.base import Died
from tests.jobs.workers.test_crashes import dies
from tests.support.cli import run_here
from tests.support.factories import make_worker
from tests.support.memory_cloud import MemoryProvider


class Changes(StopTest):
    VERBS: tuple[tuple[str, dict[str, Any]], ...] = (("rebuild", {}), ("resize", {"size": "large"}))

    async def test_jobs_stand_against_them_unless_forced(self) -> None:
        for verb, more in self.VERBS:
            row, _ = await self.provision()
            job = await self.job(row)
            self.cloud.requests.clear()
            with self.assertRaisesRegex(Refused, f"box is at work: {job.session}"):
                await self.fleet(verb, force=False, **more)
            self.assertEqual(self.cloud.requests, [])
            asked = mock.AsyncMock(return_value="n")
            with (
                mock.patch("sys.stdin.isatty", return_value=True),
                mock.patch("jobs.cli.confirming.ask", asked),
                self.assertRaisesRegex(Refused, "Nothing was changed"),
            ):
                await self.fleet(verb, yes=False, no_input=False, json=False, **more)
            self.assertIn(f"This interrupts {job.session}", asked.await_args_list[0].args[0])
            self.assertEqual((await self.states()), [("running", "started")])
            await self.fleet(verb, **more)
            self.assertEqual((await self.states()), [("interrupted", "worker_changed")])
            self.assertEqual((await self.row()).state, "ready")
            await Job.objects.all().adelete()

    async def test_with_auto_resume_the_jobs_go_on_after_it_and_not_before(self) -> None:
        for verb, more in self.VERBS:
            row, _ = await self.provision(auto_resume=True)
            await Worker.objects.filter(id=row.id).aupdate(config={**row.config, "auto_resume": True})
            await self.job(row)
            with dies(3, True), contextlib.suppress(Died):
                await self.fleet(verb, **more)
            await self.turns(1)
            self.assertEqual((await self.states()), [("interrupted", "worker_changed")], verb)
            await self.fleet(verb, **more)
            self.assertEqual((await self.states()), [("queued", "submitted")], verb)
            await Job.objects.all().adelete()

    async def test_a_resize_that_fails_says_why_and_what_came_after(self) -> None:
        await self.up()

        async def full(provider: MemoryProvider, name: str) -> None:
            raise NoCapacity("All places are taken.")

        with (
            mock.patch.object(MemoryProvider, "start", full),
            self.assertRaisesRegex(UsageError, "no size 'huge'") as caught,
        ):
            await fleet.resize(await self.row(), "huge")
        self.assertIn("It was not started again either: All places are taken.", caught.exception.hint)

    async def test_ctrl_c_says_where_it_leaves_the_machine_and_how_to_go_on(self) -> None:
        await self.up()
        there = asyncio.Event()

        async def hang(provider: MemoryProvider, name: str, size: str) -> None:
            there.set()
            await asyncio.Event().wait()

        with (
            mock.patch.object(MemoryProvider, "resize", hang),
            self.assertRaisesRegex(Interrupted, "while changing box. box is stopped") as caught,
        ):
            task = asyncio.create_task(self.fleet("resize", size="large"))
            await asyncio.wait_for(there.wait(), 60)
            task.cancel()
            await task
        self.assertIn("`offload fleet resize box large` continues", caught.exception.hint)
        self.assertIn("`offload fleet start box`", caught.exception.hint)
        self.assertEqual(caught.exception.exit_code, 130)
        await self.fleet("resize", size="large")
        row = await self.row()
        self.assertEqual((row.state, row.config["spec"]["size"]), ("ready", "large"))

    async def test_what_waits_for_a_machine_that_is_deleted_ends_there_and_then(self) -> None:
        row = await self.up()
        for state in ("queued", "preparing", "running"):
            await self.job(row, state)
        begun = await self.job(row, "queued")
        await Job.objects.filter(id=begun.id).aupdate(started_at=timezone.now())
        await self.fleet("delete", with_disk=False)
        self.assertEqual(
            await self.states(),
            [("failed", "prepare_failed")] * 2 + [("interrupted", "worker_lost")] * 2,
        )
        first = await Job.objects.order_by("id").afirst()
        assert first is not None
        self.assertEqual(first.reason_detail, "The machine it waited for was deleted on request.")


class Looks(StopTest):
    async def test_an_old_look_does_not_undo_what_is_newer(self) -> None:
        old = await self.up()
        await self.fleet("stop")
        running = replace(self.cloud.instances["box"], state=InstanceState.RUNNING)
        stopped = replace(running, state=InstanceState.STOPPED, data={"because": "preempted"})
        for seen in (running, stopped, None):
            await fleet.note_machine(old, seen)
            row = await self.row()
            self.assertEqual((row.state, row.state_detail), ("stopped", "Stopped on request."))
            self.assertNotIn("down", row.facts)
        older = await self.row()
        await self.fleet("start")
        for seen in (stopped, None):
            await fleet.note_machine(older, seen)
            self.assertEqual((await self.row()).state, "ready")
        await fleet.look_at_machine(older)  # an old row is no old look
        self.goes_down()
        await fleet.look_at_machine(older)
        self.assertEqual((await self.row()).state, "stopped")

    def goes_down(self) -> None:
        self.cloud.instances["box"] = replace(self.cloud.instances["box"], state=InstanceState.STOPPED)


class Everything(StopTest):
    async def test_a_simulator_that_does_not_start_keeps_no_machine_running(self) -> None:
        await self.up()
        config = {"simulated": True, "project": "simulated", "zones": ["z"]}
        await sync_to_async(make_worker)("tour", provider="gce-cos", config=config)
        (running.place(Path(self.root)) / "lock").mkdir(parents=True)  # no process can hold that
        for verb in ("sweep", "panic"):
            with (
                self.settings(OFFLOAD=replace(settings.OFFLOAD, home=Path(self.root))),
                contextlib.redirect_stdout(io.StringIO()) as out,
            ):
                self.assertEqual(await run_here("fleet", verb, "--json", "--yes", "--no-input"), 1)
            self.assertIn("simulated machines could not be checked", out.getvalue())
        self.assertEqual(self.cloud.instances["box"].state, InstanceState.STOPPED)
        self.assertEqual((await self.row()).state_detail, "Stopped on request.")

    async def test_killed_anywhere_the_same_command_again_ends_in_what_was_wanted(self) -> None:
        for verb in ("panic", "stop"):
            for after in (False, True):
                for at in range(1, 40):
                    row, _ = await self.provision(auto_resume=True)
                    self.cloud.requests.clear()
                    await self.job(row)
                    await self.job(row, "queued")
                    try:
                        with dies(at, after):
                            await self.fleet(verb)
                    except Died:
                        died = True
                    else:
                        died = False
                    with self.subTest(verb=verb, at=at, after=after):
                        await self.loop.once()  # what a loop makes of the half of it
                        begun = [
                            task
                            for task in self.loop._tasks.values()
                            if not task.get_name().startswith("follow")
                        ]
                        await asyncio.gather(*begun, return_exceptions=True)
                        if died:
                            await self.fleet(verb)
                        row = await self.row()
                        self.assertEqual((row.desired, row.state), ("down", "stopped"))
                        self.assertEqual(row.state_detail, "Stopped on request.")
                        self.assertEqual(self.cloud.instances["box"].state, InstanceState.STOPPED)
                        self.assertEqual(await self.states(), [("interrupted", "worker_stopped")] * 2)
                        self.assertEqual(self.starts(), 0)
                    await self.ended()
                    await Job.objects.all().adelete()
                    if not died:
                        break
                self.assertGreaterEqual(at, 3)
        self.assertEqual((await sweep.sweep()).orphans, [])


class Waiting(StopTest):
    async def waited(self, job: Job, **options: Any) -> int:
        request = make_request(json=False, timeout=60.0, **options)
        self.out = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(self.out):
            return await wait_until_ended(request, job)

    async def lost(self, **config: Any) -> Job:
        row, _ = await self.provision(**config)
        job = await self.job(row)
        self.cloud.instances["box"] = replace(self.cloud.instances["box"], state=InstanceState.STOPPED)
        await execution.refresh_worker(row.id)
        return await Job.objects.select_related("worker", "repository").aget(id=job.id)

    async def test_without_auto_resume_an_interruption_is_the_end(self) -> None:
        self.assertEqual(await self.waited(await self.lost()), EXIT_JOB_FAILED)
        self.assertNotIn("Still waiting", self.out.getvalue())

    async def test_what_goes_on_by_itself_is_waited_for(self) -> None:
        job = await self.lost(auto_resume=True)
        self.assertEqual(job.state, "interrupted")
        waiting = asyncio.create_task(self.waited(job))
        await until(lambda: Job.objects.filter(id=job.id, state="queued").aexists())
        self.assertFalse(waiting.done())
        await amove_job(job.id, JobState.PREPARING)
        await amove_job(job.id, JobState.RUNNING)
        await amove_job(job.id, JobState.SUCCEEDED)
        self.assertEqual(await asyncio.wait_for(waiting, 30), 0)
        self.assertEqual(self.out.getvalue().count("Still waiting"), 1)

    async def test_after_a_stop_that_was_asked_for_it_is_the_end(self) -> None:
        row, _ = await self.provision(auto_resume=True)
        job = await self.job(row)
        await self.fleet("stop")
        self.assertEqual(
            await self.waited(await Job.objects.select_related("worker", "repository").aget(id=job.id)),
            EXIT_JOB_FAILED,
        )
