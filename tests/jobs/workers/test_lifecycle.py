"""Machines in motion, over a cloud in memory: what is wanted comes about, and is what the rows say."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest import mock

from django.utils import timezone

from jobs.errors import NoCapacity, NotFound, Refused, TimedOut, UsageError, WorkerUnavailable
from jobs.models import JobEvent, Worker
from jobs.providers.base import InstanceState
from jobs.transitions import process_name
from jobs.workers import fleet, sweep
from jobs.workers.costs import cost_of
from jobs.workers.machines import cloud_of
from jobs.workers.provision import bring_up
from jobs.workers.requests import open_requests
from jobs.workers.waiting import Seen, wait_until
from tests.jobs.workers.base import CloudTest, Died
from tests.support.factories import make_worker
from tests.support.memory_cloud import MemoryProvider


class Waiting(CloudTest):
    async def test_a_timeout_names_what_was_waited_for_and_what_was_seen(self) -> None:
        async def look() -> Seen[int]:
            return Seen(None, "it is only half done")

        with self.assertRaisesRegex(TimedOut, "Waiting for the moon ended after 0.1 s: it is only half done"):
            await wait_until("the moon", look, deadline=0.1, pause=0.01)

    async def test_a_look_that_hangs_is_cut_off(self) -> None:
        async def look() -> Seen[int]:
            await asyncio.Event().wait()
            raise AssertionError

        with self.assertRaises(TimedOut):
            await wait_until("an answer", look, deadline=0.1)

    async def test_retryable_errors_are_not_yet_and_others_end_it(self) -> None:
        errors = [WorkerUnavailable("not now"), UsageError("never")]

        async def look() -> Seen[int]:
            raise errors.pop(0)

        with self.assertRaisesRegex(UsageError, "never"):
            await wait_until("an answer", look, deadline=30, pause=0.01, step=self.steps.append)
        self.assertEqual(self.steps, ["not now"])


class Provisioning(CloudTest):
    async def test_it_ends_ready_through_the_states_and_again_is_a_no_op(self) -> None:
        worker, changed = await self.provision()
        self.assertTrue(changed)
        self.assertEqual((worker.state, worker.desired), ("ready", "up"))
        self.assertEqual(worker.facts["disk_zone"], "zone-a")
        states = [
            event.data["state"]
            async for event in JobEvent.objects.filter(worker=worker, kind="worker_state").order_by("id")
        ]
        self.assertEqual(states, ["creating", "booting", "ready"])
        requests = list(self.cloud.requests)
        worker, changed = await self.provision()
        self.assertFalse(changed)
        self.assertEqual(self.cloud.requests, requests)

    async def test_no_room_moves_to_the_next_zone_and_leaves_no_disk_behind(self) -> None:
        for late in (False, True):
            with self.subTest(late=late):
                name = f"box-{late}".lower()
                self.cloud.late = late
                self.cloud.full = {("zone-a", False)}
                worker, _ = await self.provision(name)
                self.assertEqual((worker.facts["zone"], worker.facts["spot"]), ("zone-b", False))
                self.assertIn("zone-a has no on-demand machine left", worker.facts["placement"])
                self.assertEqual(self.cloud.disks, {(name, "zone-b")})
                self.cloud.disks.clear()

    async def test_on_demand_when_spot_is_out(self) -> None:
        self.cloud.full = {("zone-a", True), ("zone-b", True)}
        worker, _ = await self.provision(spec={"spot": True})
        self.assertEqual((worker.facts["zone"], worker.facts["spot"]), ("zone-a", False))
        self.assertIn("spot", worker.facts["placement"])

    async def test_no_room_anywhere_says_so_and_leaves_nothing(self) -> None:
        self.cloud.full = {("zone-a", False), ("zone-b", False)}
        self.cloud.late = True
        with self.assertRaisesRegex(NoCapacity, "no room for box.*zone-a.*zone-b") as caught:
            await self.provision()
        self.assertEqual(caught.exception.exit_code, 16)
        row = await self.row()
        self.assertEqual(row.state, "absent")
        self.assertEqual((self.cloud.instances, self.cloud.disks), ({}, set()))
        self.cloud.full = set()
        worker, _ = await self.provision()
        self.assertEqual(worker.state, "ready")

    async def test_a_data_disk_keeps_its_zone(self) -> None:
        self.cloud.disks.add(("box", "zone-b"))
        worker, _ = await self.provision()
        self.assertEqual(worker.facts["zone"], "zone-b")

    async def test_a_bad_spec_leaves_an_absent_row(self) -> None:
        with self.assertRaises(UsageError):
            await self.provision(spec={"colour": "red"})
        self.assertEqual((await self.row()).state, "absent")

    async def test_a_machine_that_says_its_boot_failed_ends_the_wait(self) -> None:
        self.cloud.reports["box"] = {"state": "failed", "step": "data disk", "error": "it holds xfs"}
        with self.assertRaisesRegex(WorkerUnavailable, "data disk: it holds xfs"):
            await self.provision(boot_file=f"{self.root}/boot.json")
        self.assertEqual((await self.row()).state, "unreachable")

    async def test_a_boot_that_never_ends_is_a_named_timeout(self) -> None:
        with self.assertRaisesRegex(TimedOut, "box to answer.*its boot has not begun"):
            await self.provision(boot_file=f"{self.root}/boot.json", boot_deadline=0.5)
        self.assertEqual((await self.row()).state, "unreachable")
        Path(self.root, "boot.json").write_text('{"state": "ready"}')
        worker, _ = await self.provision()
        self.assertEqual(worker.state, "ready")


class Verbs(CloudTest):
    async def test_stop_start_and_their_no_ops(self) -> None:
        worker, _ = await self.provision()
        self.assertTrue(await fleet.stop(worker, self.steps.append))
        row = await self.row()
        self.assertEqual((row.state, row.desired), ("stopped", "down"))
        self.assertFalse(await fleet.stop(row))
        row, changed = await fleet.start(row)
        self.assertTrue(changed)
        self.assertEqual((row.state, row.desired), ("ready", "up"))

    async def test_start_of_a_machine_that_is_gone_says_so(self) -> None:
        worker, _ = await self.provision()
        self.cloud.instances.clear()
        with self.assertRaisesRegex(NotFound, "no machine box"):
            await fleet.start(worker)
        self.assertEqual((await self.row()).state, "absent")

    async def test_rebuild_keeps_the_disk_and_makes_a_new_machine(self) -> None:
        worker, _ = await self.provision()
        await fleet.rebuild(worker, self.steps.append)
        row = await self.row()
        self.assertEqual(row.state, "ready")
        self.assertFalse(await open_requests().aexists())
        self.assertEqual(self.cloud.requests, [("create", "box"), ("delete", "box"), ("create", "box")])
        self.assertEqual(self.cloud.disks, {("box", "zone-a")})

    async def test_resize(self) -> None:
        worker, _ = await self.provision()
        row = await fleet.resize(worker, "large")
        self.assertEqual((row.state, row.config["spec"]["size"]), ("ready", "large"))
        self.assertEqual(self.cloud.instances["box"].data["size"], "large")
        with self.assertRaises(UsageError):
            await fleet.resize(row, "gigantic")
        row = await self.row()
        self.assertEqual((row.state, row.config["spec"]["size"]), ("ready", "large"))

    async def test_delete_keeps_the_disk_unless_told(self) -> None:
        worker, _ = await self.provision()
        self.cloud.addresses["box-ip"] = "box"
        kept = await fleet.delete(worker)
        self.assertEqual([str(one) for one in kept], ["disk box in zone-a"])
        row = await self.row()
        self.assertEqual((row.state, row.desired), ("absent", "gone"))
        self.assertEqual((self.cloud.instances, self.cloud.addresses), ({}, {}))
        self.assertEqual((await sweep.sweep()).orphans, [])
        await fleet.delete(row, with_disk=True)
        self.assertEqual(self.cloud.disks, set())

    async def test_a_machine_that_is_not_ours_is_refused_clearly(self) -> None:
        worker = await Worker.objects.acreate(name="mine", provider="ssh", config={"host": "h"}, root="/r")
        for doing in (fleet.stop, fleet.start, fleet.rebuild, fleet.delete, bring_up):
            with self.assertRaisesRegex(Refused, "mine is not possible.*which Offload uses and did not make"):
                await doing(worker)

    async def test_stopped_from_outside_is_told_in_the_row(self) -> None:
        worker, _ = await self.provision()
        await cloud_of(worker, "Stopping").stop("box")
        self.cloud.settle()
        self.assertEqual(await fleet.look_at_machine(worker), InstanceState.STOPPED)
        row = await self.row()
        self.assertEqual((row.state, row.desired), ("stopped", "up"))
        self.assertIn("stopped from outside", row.state_detail)


class Sweeping(CloudTest):
    async def test_orphans_both_ways(self) -> None:
        worker, _ = await self.provision()
        await self.provision("other")
        await Worker.objects.filter(name="other").adelete()
        await self.provision("gone")
        self.cloud.instances.pop("gone")
        found = await sweep.sweep(with_disks=True)
        self.assertEqual(
            sorted(str(one) for one in found.orphans), ["disk other in zone-a", "instance other in zone-a"]
        )
        self.assertEqual(found.gone, ["gone"])
        self.assertEqual((await self.row("gone")).state, "absent")
        self.assertIn("other", self.cloud.instances)
        found = await sweep.sweep(remove=True, with_disks=True)
        self.assertEqual(found.failed, [])
        self.assertEqual(sorted(self.cloud.instances), ["box"])
        self.assertEqual(sorted(name for name, _ in self.cloud.disks), ["box", "gone"])
        self.assertEqual((await self.row(worker.name)).state, "ready")

    async def test_panic_stops_what_no_row_knows_too_and_deletes_nothing(self) -> None:
        await self.provision()
        await self.provision("other")
        await Worker.objects.filter(name="other").adelete()
        halted = await sweep.panic(self.steps.append)
        self.assertEqual((sorted(halted.stopped), halted.failed), (["box", "other"], []))
        self.assertEqual({one.state for one in self.cloud.instances.values()}, {InstanceState.STOPPED})
        self.assertEqual([one.kind for one in halted.left], ["disk", "disk"])
        row = await self.row()
        self.assertEqual((row.state, row.desired), ("stopped", "down"))

    async def test_a_deletion_that_was_begun_outlives_a_panic(self) -> None:
        worker, _ = await self.provision()
        await Worker.objects.filter(id=worker.id).aupdate(desired="gone")
        await sweep.panic(self.steps.append)
        self.assertEqual((await self.row()).desired, "gone")
        self.assertEqual([one.name for one in (await sweep.sweep()).orphans], ["box"])

    async def test_a_row_that_cannot_be_read_keeps_no_machine_running(self) -> None:
        await Worker.objects.acreate(name="a-broken", provider="gce-cos", root="/r", config={"owner": "me"})
        await self.provision()
        halted = await sweep.panic(self.steps.append)
        self.assertEqual(halted.stopped, ["box"])
        self.assertRegex(halted.failed[0], "a-broken.* has no project")
        self.assertRegex((await sweep.sweep()).failed[0], "a-broken.* has no project")

    async def test_local_workers_are_left_alone(self) -> None:
        from asgiref.sync import sync_to_async

        await sync_to_async(make_worker)()
        found = await sweep.sweep(remove=True)
        self.assertEqual((found.orphans, found.gone), ([], []))


class NeverMade(CloudTest):
    async def test_a_machine_that_never_came_is_absent_after_a_while(self) -> None:
        columns = {"provider": "memory", "root": self.root, "config": self.config(), "state": "creating"}
        row = await Worker.objects.acreate(name="box", **columns)
        self.assertIsNone(await fleet.look_at_machine(row))
        self.assertEqual((await self.row()).state, "creating", "another process may be making it")
        await Worker.objects.aupdate(state_since=timezone.now() - fleet.CREATION_LIMIT)
        self.assertIsNone(await fleet.look_at_machine(row))
        row = await self.row()
        self.assertEqual((row.state, row.state_detail), ("absent", "Its machine never came."))

    async def test_the_next_look_ends_what_a_process_left_that_is_gone(self) -> None:
        died = mock.patch.object(MemoryProvider, "create", mock.AsyncMock(side_effect=Died))
        with died, self.assertRaises(Died):
            await self.provision()
        row = await self.row()
        self.assertEqual((row.state, row.facts["maker"]), ("creating", process_name()))
        await Worker.objects.aupdate(state_since=timezone.now() - fleet.ORPHANED_LIMIT)
        await fleet.look_at_machine(row)
        self.assertEqual((await self.row()).state, "creating", "its maker is alive")
        done = await asyncio.create_subprocess_exec("true")
        await done.wait()
        gone = f"{process_name().rpartition(':')[0]}:{done.pid}"
        await Worker.objects.aupdate(facts={**row.facts, "maker": gone})
        await fleet.look_at_machine(row)
        row = await self.row()
        self.assertEqual((row.state, row.state_detail), ("absent", "Its machine never came."))
        cost = await cost_of(row)
        assert cost is not None
        self.assertEqual(cost.so_far, 0.0)
