"""A process that dies at any call to the provider: the same call again ends in what was wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from jobs.models import Worker
from jobs.providers.base import InstanceState
from jobs.workers import fleet, sweep
from jobs.workers.requests import open_requests
from tests.jobs.workers.base import CloudTest, Died
from tests.support.memory_cloud import MemoryProvider

CALLS = ("create", "start", "stop", "delete", "resize", "remove", "get", "resources")


@contextmanager
def dies(at: int, after: bool) -> Iterator[list[int]]:
    """Die at the `at`-th call to the provider, before or after it was carried out."""
    count = [0]

    def wrap(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(self: MemoryProvider, *args: Any) -> Any:
            count[0] += 1
            mine = count[0] == at
            if mine and not after:
                raise Died
            answer = await original(self, *args)
            if mine:
                raise Died
            return answer

        return call

    changes: dict[str, Any] = {name: wrap(getattr(MemoryProvider, name)) for name in CALLS}
    with mock.patch.multiple(MemoryProvider, **changes):
        yield count


class Crashes(CloudTest):
    async def crash_everywhere(
        self,
        name: str,
        prepare: Callable[[str], Awaitable[Any]],
        act: Callable[[str], Awaitable[Any]],
        check: Callable[[str], Awaitable[None]],
    ) -> None:
        steps = 0
        for after in (False, True):
            for at in range(1, 60):
                box = f"{name}-{at}-{int(after)}"
                await prepare(box)
                try:
                    with dies(at, after):
                        await act(box)
                except Died:
                    steps += 1
                else:
                    break
                with self.subTest(at=at, after=after):
                    await act(box)
                    await check(box)
            else:
                raise AssertionError("It did not come to an end within 60 calls.")
        self.assertGreaterEqual(steps, 6)
        self.assertEqual((await sweep.sweep()).orphans, [])

    async def is_up_once(self, box: str) -> None:
        row = await self.row(box)
        self.assertEqual((row.state, row.desired), ("ready", "up"))
        self.assertEqual(self.cloud.instances[box].state, InstanceState.RUNNING)
        self.assertEqual([one for one in self.cloud.instances if one.startswith(box)], [box])
        self.assertEqual([zone for name, zone in self.cloud.disks if name == box], [row.facts["disk_zone"]])

    async def nothing(self, box: str) -> None:
        self.cloud.capacity = 1000

    async def made(self, box: str) -> None:
        self.cloud.capacity = 1000
        await self.provision(box)

    async def test_provision(self) -> None:
        await self.crash_everywhere("p", self.nothing, self.provision, self.is_up_once)

    async def test_provision_with_a_full_zone_that_says_so_late(self) -> None:
        self.cloud.late, self.cloud.full = True, {("zone-a", False)}
        await self.crash_everywhere("f", self.nothing, self.provision, self.is_up_once)

    async def test_stop(self) -> None:
        async def act(box: str) -> None:
            await fleet.stop(await self.row(box))

        async def check(box: str) -> None:
            self.assertEqual((await self.row(box)).state, "stopped")
            self.assertEqual(self.cloud.instances[box].state, InstanceState.STOPPED)

        await self.crash_everywhere("s", self.made, act, check)

    async def test_rebuild(self) -> None:
        async def act(box: str) -> None:
            await fleet.rebuild(await self.row(box))

        async def check(box: str) -> None:
            await self.is_up_once(box)
            self.assertFalse(await open_requests().aexists())
            self.assertGreaterEqual(self.cloud.requests.count(("create", box)), 2)

        await self.crash_everywhere("r", self.made, act, check)

    async def test_resize(self) -> None:
        async def act(box: str) -> None:
            await fleet.resize(await self.row(box), "large")

        async def check(box: str) -> None:
            await self.is_up_once(box)
            self.assertEqual(self.cloud.instances[box].data["size"], "large")

        await self.crash_everywhere("z", self.made, act, check)

    async def test_delete_by_the_command_and_by_a_sweep(self) -> None:
        for with_disk in (False, True):

            async def act(box: str, with_disk: bool = with_disk) -> None:
                await fleet.delete(await self.row(box), with_disk=with_disk)

            async def check(box: str, with_disk: bool = with_disk) -> None:
                self.assertNotIn(box, self.cloud.instances)
                self.assertEqual(box in [name for name, _ in self.cloud.disks], not with_disk)
                self.assertEqual((await self.row(box)).state, "absent")

            await self.crash_everywhere(f"d{int(with_disk)}", self.made, act, check)

            async def swept(box: str, with_disk: bool = with_disk) -> None:
                row = await Worker.objects.aget(name=box)
                if row.desired == "gone":
                    await sweep.sweep(remove=True)
                    await check(box, with_disk)

            async def once(box: str) -> None:
                row = await self.row(box)
                if row.desired != "gone":
                    await act(box)

            await self.crash_everywhere(f"w{int(with_disk)}", self.made, once, swept)
