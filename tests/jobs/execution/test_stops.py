"""What a stop interrupts stays interrupted: by `stop --force`, by `panic`, by a page's request."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

from jobs import execution
from jobs.cli.fleet_verbs import FLEET
from jobs.errors import OffloadError, Refused
from jobs.execution import apply, machines, requests
from jobs.execution.launch import lease
from jobs.models import Job, Repository, Worker, WorkerRequest
from jobs.providers.base import InstanceState
from jobs.workers.requests import open_requests
from tests.jobs.execution.test_requests import WHO, RequestTest
from tests.support.cli import run_here
from tests.support.memory_cloud import MemoryProvider

FLAGS = {"json": True, "yes": True, "no_input": True, "force": True}


class StopTest(RequestTest):
    async def job(self, row: Worker, state: str = "running") -> Job:
        job = await super().job(row, state)
        await Repository.objects.aupdate(url="/nowhere/tinycart.git")
        return job

    async def fleet(self, verb: str, *, size: str = "", **flags: bool) -> int:
        known = FLEET[verb]
        words = ["box"] if "WORKER" in known.names else []
        words += [size] if size else []
        words += [
            f"--{flag.replace('_', '-')}"
            for flag, on in {**FLAGS, **flags}.items()
            if on and flag in known.options
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            return await run_here("fleet", verb, *words)

    async def turns(self, count: int = 3) -> None:
        """Let the loop begin whatever it wants to, and end it."""
        for _ in range(count):
            await self.loop.once()
            begun = [task for (kind, _), task in self.loop._tasks.items() if kind in ("launch", "machine")]
            async with asyncio.timeout(60):
                await asyncio.gather(*begun, return_exceptions=True)
            self.loop._retry_at.clear()
        await self.ended()

    async def states(self) -> list[tuple[str, str]]:
        return [(job.state, job.reason) async for job in Job.objects.order_by("id")]

    def starts(self) -> int:
        return self.cloud.requests.count(("start", "box"))


class Stopped(StopTest):
    async def stopped_for_good(self, stop: Callable[[], Awaitable[Any]]) -> None:
        row, _ = await self.provision(auto_resume=True)
        for state in ("queued", "preparing", "running"):
            await self.job(row, state)
        await stop()
        self.assertEqual(await self.states(), [("interrupted", "worker_stopped")] * 3)
        await self.turns()
        row = await self.row()
        self.assertEqual(
            (row.desired, row.state, row.state_detail), ("down", "stopped", "Stopped on request.")
        )
        self.assertEqual((self.cloud.instances["box"].state, self.starts()), (InstanceState.STOPPED, 0))
        self.assertEqual(await self.states(), [("interrupted", "worker_stopped")] * 3)

    async def test_stop_by_force(self) -> None:
        await self.stopped_for_good(lambda: self.fleet("stop"))

    async def test_panic(self) -> None:
        await self.stopped_for_good(lambda: self.fleet("panic"))

    async def test_the_request_of_a_page(self) -> None:
        async def stop() -> None:
            await execution.request_stop(await self.row(), WHO, force=True)
            await requests.carry_out((await WorkerRequest.objects.aget()).id)

        await self.stopped_for_good(stop)

    async def test_whoever_launches_after_it_wakes_the_machine(self) -> None:
        row = await self.up()
        job = await self.job(row, "queued")
        await self.fleet("panic")
        for n, ask in enumerate((None, WHO), 1):
            if ask is not None:  # the button; without: the same command again
                await self.fleet("stop")
                self.assertTrue(await execution.resume(job.id, ask))
            with contextlib.suppress(OffloadError):  # there is no such repository
                await execution.launch(job.id, keep_queued=ask is not None)
            self.assertEqual((self.starts(), (await self.row()).desired), (n, "up"))
            await Job.objects.aupdate(state="queued")

    async def test_a_command_replaces_what_a_page_requested_before(self) -> None:
        for verb in ("stop", "panic"):
            await self.up()
            await self.fleet("stop")
            await execution.request_start(await self.row(), WHO)
            begun = await open_requests().aget()
            await self.fleet(verb)
            await self.turn()
            self.assertEqual(self.starts(), 0)
            await requests.carry_out(begun.id)  # read before, carried out after
            self.assertEqual((self.starts(), (await self.row()).desired), (0, "down"))
            await self.fleet("start")
            self.cloud.requests.clear()
        await self.ended()


class InFlight(StopTest):
    """A launch that another process has begun when the stop comes."""

    async def stopped(self) -> Job:
        row = await self.up()
        await self.fleet("stop")
        job = await self.job(row, "queued")
        return await Job.objects.select_related("worker").aget(id=job.id)

    @contextlib.contextmanager
    def at(self, call: str, happens: Callable[[], Awaitable[Any]]) -> Any:
        """Have something happen when the provider is called first, before it does anything."""
        original, todo = getattr(MemoryProvider, call), [happens]

        async def wrapped(provider: MemoryProvider, *args: Any) -> Any:
            if todo:
                await todo.pop()()
            return await original(provider, *args)

        with mock.patch.object(MemoryProvider, call, wrapped):
            yield

    async def stopped_at(self, call: str) -> None:
        job = await self.stopped()
        with self.at(call, lambda: self.fleet("panic")):
            done = await execution.launch(job.id)
        self.assertEqual((done.state, done.reason), ("interrupted", "worker_stopped"))
        self.cloud.settle()
        self.assertEqual(self.cloud.instances["box"].state, InstanceState.STOPPED)
        await self.turns()
        self.assertEqual(self.cloud.instances["box"].state, InstanceState.STOPPED)
        row = await self.row()
        self.assertEqual((row.desired, row.state), ("down", "stopped"))

    async def test_while_it_looks_at_the_machine(self) -> None:
        await self.stopped_at("get")
        self.assertEqual(self.starts(), 0)

    async def test_while_it_asks_for_the_start(self) -> None:
        await self.stopped_at("start")
        self.assertEqual(self.starts(), 1)

    async def test_before_it_wants_the_machine(self) -> None:
        job = await self.stopped()
        await Job.objects.filter(id=job.id).aupdate(state="preparing")
        await self.fleet("panic")
        with self.assertRaisesRegex(Refused, "taken back meanwhile"):
            await machines.wake(job.worker, self.steps.append, job_id=job.id)
        self.assertEqual((self.starts(), (await self.row()).desired), (0, "down"))

    async def test_while_it_waits_for_its_turn(self) -> None:
        job = await self.stopped()
        async with lease(job.id, "elsewhere:1:x"):
            told = asyncio.Event()
            progress = mock.Mock(step=lambda text, phase: told.set())
            waiting = asyncio.create_task(execution.launch(job.id, progress))
            await asyncio.wait_for(told.wait(), 20)
            await self.fleet("panic")
        self.assertEqual((await asyncio.wait_for(waiting, 20)).state, "interrupted")
        self.assertEqual(self.starts(), 0)

    async def test_while_a_machine_is_made(self) -> None:
        with self.at("create", self.told_to_stop), self.assertRaisesRegex(Refused, "asked to be down"):
            await self.provision()
        self.cloud.settle()
        self.assertEqual(self.cloud.instances["box"].state, InstanceState.STOPPED)

    async def told_to_stop(self) -> None:
        await self.fleet("panic")

    async def test_a_last_sign_of_life_makes_nothing_running_again(self) -> None:
        job = await self.job(await self.up())
        await execution.interrupt_for_stop(job.worker_id, "Stopped.")
        await apply.aapply_status(job.id, {"alive": True})
        self.assertEqual(await self.states(), [("interrupted", "worker_stopped")])
        await Worker.objects.aupdate(desired="up")
        await apply.aapply_status(job.id, {"alive": True})
        self.assertEqual((await self.states())[0][0], "running")
