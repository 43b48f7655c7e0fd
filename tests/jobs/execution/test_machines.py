"""Jobs and the machines under them: what a machine's end means, and how it is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.utils import timezone

from jobs import execution
from jobs.errors import MachineDown, NotFound
from jobs.execution import machines
from jobs.models import Job
from jobs.providers.base import InstanceState
from jobs.states import Reason
from jobs.workers import connect, fleet, observe_worker
from tests.jobs.workers.base import CloudTest
from tests.support.factories import make_job

amake_job = sync_to_async(make_job)


class MachinesOfJobs(CloudTest):
    async def job(self, **columns: Any) -> Job:
        """Return a running job on a machine that is up."""
        worker, _ = await self.provision(auto_resume=True)
        return await amake_job(worker=worker, state="running", **columns)

    def goes_down(self, state: InstanceState = InstanceState.STOPPED) -> None:
        self.cloud.pace = 0
        self.cloud.instances["box"] = replace(self.cloud.instances["box"], state=state)

    async def test_nobody_connects_to_a_machine_that_is_down(self) -> None:
        await self.provision()
        for state in (InstanceState.STOPPING, InstanceState.STOPPED):
            self.goes_down(state)
            with self.assertRaisesRegex(MachineDown, state.value):
                async with connect(await self.row()):
                    pass

    async def test_a_reading_of_a_machine_that_is_down_tells_the_truth_and_is_no_error(self) -> None:
        job = await self.job()
        self.goes_down()
        await execution.refresh_worker(job.worker_id)
        await job.arefresh_from_db()
        self.assertEqual((job.state, job.reason), ("interrupted", "worker_lost"))
        self.assertEqual((await self.row()).state, "stopped")

    async def test_silence_of_a_machine_that_runs_is_no_end(self) -> None:
        job = await self.job()
        self.assertFalse(await machines.note_silence(job.worker_id, "Silent."))
        await job.arefresh_from_db()
        row = await self.row()
        self.assertEqual((job.state, row.state, row.state_detail), ("running", "unreachable", "Silent."))

    async def test_what_the_shutdown_itself_interrupted_is_resumed_too(self) -> None:
        just_now = await self.job(finished_at=timezone.now())
        long_ago = await amake_job(
            worker=just_now.worker, state="interrupted", reason=Reason.SESSION_LOST.value,
            finished_at=timezone.now() - timedelta(hours=1),
        )  # fmt: skip
        await Job.objects.filter(id=just_now.id).aupdate(state="interrupted", reason="session_lost")
        self.goes_down()
        self.assertEqual(await machines.resume_lost_jobs(await self.row()), 1)
        states = {job.id: job.state async for job in Job.objects.all()}
        self.assertEqual(states, {just_now.id: "queued", long_ago.id: "interrupted"})
        # Only the request is saved; the machine is started by the launch that it leads to.
        self.assertEqual((await self.row()).state, "stopped")

    async def test_a_machine_that_was_stopped_on_request_stays_down(self) -> None:
        job = await self.job()
        await fleet.stop(await self.row())
        self.assertEqual(await machines.resume_lost_jobs(await self.row()), 0)
        await job.arefresh_from_db()
        self.assertEqual(job.state, "interrupted")

    async def test_an_answer_on_the_way_down_makes_nothing_ready(self) -> None:
        worker, _ = await self.provision()
        self.goes_down(InstanceState.STOPPING)
        await fleet.look_at_machine(worker)
        await observe_worker(worker.id, True, "Answered to the last.")
        self.assertEqual((await self.row()).state, "stopping")

    async def test_cancelling_needs_no_line_to_a_machine_that_is_down(self) -> None:
        job = await self.job(worktree="/there")
        self.goes_down()
        self.assertEqual((await execution.cancel(job.id, "me")).state, "cancelled")

    async def test_a_deleted_machine_is_not_looked_for(self) -> None:
        worker, _ = await self.provision()
        await fleet.delete(worker)
        with self.assertRaisesRegex(NotFound, "was deleted"):
            await execution.wake(await self.row(), self.steps.append)

    async def test_a_launch_does_not_take_back_a_deletion_that_was_begun(self) -> None:
        worker, _ = await self.provision()
        await type(worker).objects.filter(id=worker.id).aupdate(desired="gone", state="deleting")
        self.goes_down(InstanceState.DELETING)
        self.cloud.pace = 1
        with self.assertRaisesRegex(NotFound, "is being deleted"):
            await execution.wake(await self.row(), self.steps.append)
        self.assertEqual((await self.row()).desired, "gone")
