"""`fleet` against the simulator, and against one that offers little: each verb, and each no."""

from __future__ import annotations

import io
import json
import os
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase

from jobs.errors import (
    NoCapacity,
    NotConfigured,
    OffloadError,
    QuotaExceeded,
    Refused,
    TimedOut,
    UsageError,
)
from jobs.models import Worker
from jobs.operations import owner_of
from jobs.workers import waiting
from tests.support import agent
from tests.support.cli import run_here
from tests.support.factories import make_job
from tests.support.gce_server import PROJECT, ZONE, Simulator, endpoint
from tests.support.sshd import make_key

IMAGE = "europe-docker.pkg.dev/p/offload/maintainer@sha256:" + "a" * 64
OTHER = "us-central1-b"


class FleetTest(TransactionTestCase):
    def setUp(self) -> None:
        self.simulator = self.enterContext(endpoint(Simulator()))
        pause, waiting.FIRST_PAUSE = waiting.FIRST_PAUSE, 0.01
        self.addCleanup(setattr, waiting, "FIRST_PAUSE", pause)
        self.said = ""

    async def fleet(self, *words: str) -> str:
        """Run a command; return its stdout (`said` has stderr). Raises what it ends in."""
        out, err = io.StringIO(), io.StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = await run_here("fleet", *words)
        finally:
            self.said = err.getvalue()
        self.assertEqual(code, 0, out.getvalue())
        return out.getvalue()

    async def provision(self, *words: str, name: str = "box", zones: str = ZONE) -> str:
        plain = ("--project", PROJECT, "--image", IMAGE, "--owner", "me", "--machine-only", "--yes")
        return await self.fleet("provision", name, "--zones", zones, *plain, *words)

    async def row(self, name: str = "box") -> Worker:
        return await Worker.objects.aget(name=name)

    def resource(self, rest: str) -> dict[str, Any] | None:
        with self.simulator.world.lock:
            return self.simulator.world.resources.get(f"projects/{PROJECT}/{rest}")

    def zonal(self, rest: str, zone: str = ZONE) -> dict[str, Any]:
        found = self.resource(f"zones/{zone}/{rest}")
        assert found is not None, f"there is no {rest}"
        return found


class Verbs(FleetTest):
    async def test_the_plan_names_the_price_and_needs_a_yes(self) -> None:
        words = ("provision", "box", "--project", PROJECT, "--image", IMAGE, "--zones", ZONE, "--no-input")
        with self.assertRaisesRegex(Refused, "Confirmation required"):
            await self.fleet(*words)
        self.assertRegex(
            self.said, r"about 0\.43 USD an hour.*310 a month.*22 a month while stopped \(estimate"
        )
        with self.assertRaisesRegex(Refused, "Confirmation required"):
            await self.fleet(*words, "--machine-type", "n4-standard-8")
        self.assertIn("prices of 2025-03-06; unconfirmed: hyperdisk-balanced)", self.said)
        self.assertFalse(await Worker.objects.aexists())
        self.assertFalse([one for one in self.simulator.requests if one[0] == "POST"])

    async def test_made_once_and_up_again_is_nothing(self) -> None:
        await self.provision()
        posts = len([one for one in self.simulator.requests if one[0] == "POST"])
        done = json.loads(await self.fleet("provision", "box", "--json"))
        self.assertIs(done["worker"]["changed"], False)
        self.assertEqual(len([one for one in self.simulator.requests if one[0] == "POST"]), posts)

    async def test_what_was_wished_and_never_made_is_looked_at_again(self) -> None:
        self.simulator.fail("permission", "POST .*instances$")
        with self.assertRaisesRegex(NotConfigured, "compute.instances.create"):
            await self.provision("--network", "default")
        row = await self.row()
        self.assertEqual((row.state, row.desired), ("absent", "up"))
        self.simulator.world.limits["N2_CPUS"] = 4.0
        self.simulator.requests.clear()
        for state in ("absent", "creating"):  # killed before the request, or after it was noted
            await Worker.objects.filter(id=row.id).aupdate(state=state)
            with self.subTest(state), self.assertRaisesRegex(QuotaExceeded, "N2_CPUS.*8 are needed"):
                await self.fleet("provision", "box")
        self.simulator.world.limits["N2_CPUS"] = 64.0
        self.simulator.world.account["off"] = ["compute.googleapis.com"]
        with self.assertRaisesRegex(NotConfigured, "is off in the project"):
            await self.fleet("provision", "box")
        self.simulator.world.account["off"] = []
        self.assertFalse([one for one in self.simulator.requests if one[0] == "POST"])
        self.assertIn("box", await self.fleet("provision", "box"))
        self.assertEqual(self.zonal("instances/box")["status"], "RUNNING")

    async def test_an_identity_that_there_is_not_makes_no_machine(self) -> None:
        account = f"offload-worker@{PROJECT}.iam.gserviceaccount.com"
        with self.assertRaisesRegex(NotConfigured, f"There is no service account {account}") as caught:
            await self.provision("--service-account", account)
        self.assertIn("gcloud iam service-accounts create offload-worker", caught.exception.hint)
        self.assertFalse(await Worker.objects.aexists())
        self.simulator.world.account["accounts"] = {account: {}}
        await self.provision("--service-account", account)
        self.assertEqual(self.zonal("instances/box")["serviceAccounts"][0]["email"], account)
        self.assertNotIn("Warning: Machines have no service account", self.said)
        await self.provision(name="bare")
        self.assertIn("Warning: Machines have no service account", self.said)

    async def test_a_key_that_nobody_gets_in_with_makes_no_machine(self) -> None:
        self.enterContext(mock.patch.dict(os.environ, {"SSH_AUTH_SOCK": ""}))
        key = agent.lock(make_key(Path(self.enterContext(tempfile.TemporaryDirectory()), "key")))
        with self.assertRaisesRegex(NotConfigured, "has a passphrase") as caught:
            await self.provision("--key", str(key))
        self.assertIn(f"ssh-add {key}", caught.exception.hint)
        self.assertFalse(await Worker.objects.aexists())

    async def test_a_machine_that_has_not_published_its_keys_is_not_talked_to(self) -> None:
        await self.provision()
        worker = await self.row()
        config = {key: value for key, value in worker.config.items() if key != "machine_only"}
        await Worker.objects.filter(id=worker.id).aupdate(config=config | {"boot_deadline": 0.3})
        with self.assertRaisesRegex(TimedOut, "box to answer.*it has not published its host keys"):
            await self.fleet("provision", "box")

    async def test_the_next_zone_when_one_is_full(self) -> None:
        self.simulator.world.exhausted = [ZONE]
        await self.provision(zones=f"{ZONE},{OTHER}")
        self.assertEqual(self.zonal("instances/box", OTHER)["status"], "RUNNING")
        self.assertIn(f"the zone {ZONE} has no such machine left", self.said)
        self.assertIsNone(self.resource(f"zones/{ZONE}/disks/box-data"))

    async def test_on_demand_when_spot_is_out(self) -> None:
        self.simulator.fail("capacity", "POST .*instances$")
        await self.provision("--spot")
        self.assertEqual(self.zonal("instances/box")["scheduling"]["provisioningModel"], "STANDARD")
        self.assertIn("in us-central1-a, spot", (await self.row()).facts["placement"])

    async def test_no_room_anywhere(self) -> None:
        self.simulator.world.exhausted = [ZONE, OTHER]
        with self.assertRaisesRegex(NoCapacity, f"no room for box.*{ZONE}.*{OTHER}"):
            await self.provision(zones=f"{ZONE},{OTHER}")
        with self.simulator.world.lock:
            self.assertEqual([path for path in self.simulator.world.resources if "box" in path], [])

    async def test_quota_is_named_with_the_page_that_raises_it(self) -> None:
        self.simulator.world.limits["N2_CPUS"] = 4.0
        with self.assertRaisesRegex(QuotaExceeded, "N2_CPUS") as caught:
            await self.provision(zones=f"{ZONE},{OTHER}")
        self.assertIn(
            f"https://console.cloud.google.com/iam-admin/quotas?project={PROJECT}", caught.exception.hint
        )
        self.assertFalse(await Worker.objects.filter(name="box").aexists(), "it was said before anything")

    async def test_rebuild_keeps_the_disk_and_delete_too_unless_told(self) -> None:
        await self.provision("--snapshot-days", "7")
        disk, machine = self.zonal("disks/box-data")["id"], self.zonal("instances/box")["id"]
        await self.fleet("rebuild", "box", "--yes")
        self.assertEqual(self.zonal("disks/box-data")["id"], disk)
        self.assertNotEqual(self.zonal("instances/box")["id"], machine)
        said = await self.fleet("delete", "box", "--yes")
        self.assertIn("This deletes: instance box in us-central1-a", self.said)
        self.assertIn("Kept, and still costing: disk box-data", said)
        self.assertEqual(self.zonal("disks/box-data")["id"], disk)
        self.assertNotIn("snapshot", await self.fleet("sweep"))  # the kept disk is still saved
        said = await self.fleet("delete", "box", "--yes", "--with-disk")
        self.assertNotIn("Kept", said)
        await self.fleet("sweep", "--yes")
        with self.simulator.world.lock:
            left = [path for path in self.simulator.world.resources if not path.endswith("/networks/default")]
        self.assertEqual(left, [])

    async def test_resize_logs_stop_start_panic(self) -> None:
        await self.provision()
        await self.fleet("resize", "box", "n2-standard-16", "--yes")
        self.assertTrue(self.zonal("instances/box")["machineType"].endswith("/n2-standard-16"))
        with self.assertRaises(OffloadError):
            await self.fleet("resize", "box", "n2-standard-7", "--yes")
        self.assertEqual(self.zonal("instances/box")["status"], "RUNNING")
        self.assertIn("box boots", await self.fleet("logs", "box"))
        await self.fleet("stop", "box")
        await self.fleet("start", "box")
        said = await self.fleet("panic", "--yes")
        self.assertIn("stopped: box", said)
        self.assertIn("still costs: router offload-router in us-central1", said)
        self.assertEqual((await self.row()).desired, "down")

    async def test_panic_waits_for_machines_of_every_zone_and_their_rows_say_so(self) -> None:
        await self.provision()
        await self.provision(name="far", zones=OTHER)
        self.assertIn("stopped: far", await self.fleet("panic", "--yes"))
        self.assertEqual(self.zonal("instances/far", OTHER)["status"], "TERMINATED")
        self.assertEqual([(await self.row(name)).state for name in ("box", "far")], ["stopped", "stopped"])

    async def test_delete_refuses_what_it_cannot_know(self) -> None:
        await self.provision()
        worker = await self.row()
        await sync_to_async(make_job)(worker=worker, worktree="/w/1")
        await self.fleet("stop", "box")
        with self.assertRaisesRegex(Refused, "it is unknown whether work on it is nowhere else"):
            await self.fleet("delete", "box", "--yes")
        self.assertEqual(self.zonal("instances/box")["status"], "TERMINATED")
        with self.assertRaisesRegex(Refused, "Confirmation required"):
            await self.fleet("delete", "box", "--force", "--no-input")
        await self.fleet("delete", "box", "--force", "--yes")
        self.assertIsNone(self.resource(f"zones/{ZONE}/instances/box"))

    async def test_a_stop_that_is_refused_leaves_the_row_true(self) -> None:
        await self.provision()
        self.simulator.fail("permission", "/stop$")
        with self.assertRaisesRegex(NotConfigured, "Stopping the machine box failed"):
            await self.fleet("stop", "box")
        self.assertEqual((await self.row()).state, "booting")

    async def test_a_project_that_no_row_names_is_looked_through_for_ours_alone(self) -> None:
        mine = owner_of()
        await self.provision("--owner", mine, name="mine")
        await self.provision("--owner", "a-colleague", name="theirs")
        await Worker.objects.all().adelete()
        said = await self.fleet("panic", "--project", PROJECT, "--yes")
        self.assertIn("stopped: mine", said)
        self.assertNotIn("theirs", said)
        said = await self.fleet("sweep", "--project", PROJECT, "--yes")
        self.assertIn("removed: instance mine", said)
        self.assertNotIn("theirs", said)
        self.assertEqual(self.zonal("instances/theirs")["status"], "RUNNING")
        said = await self.fleet("sweep", "--project", PROJECT, "--owner", "a-colleague", "--yes")
        self.assertIn("removed: instance theirs", said)

    async def test_after_a_lost_database_machine_and_data_are_taken_up_again(self) -> None:
        mine = ("--project", PROJECT, "--owner", "me")
        await self.provision()
        machine, disk = self.zonal("instances/box")["id"], self.zonal("disks/box-data")["id"]
        await Worker.objects.all().adelete()
        await self.provision()
        self.assertEqual(self.zonal("instances/box")["id"], machine)
        await Worker.objects.all().adelete()
        said = await self.fleet("sweep", "--yes", *mine)
        self.assertIn("removed: instance box", said)
        self.assertRegex(said, r"data disk of no worker: disk box-data in \S+ \(200 GB, about \d+\.\d\d USD")
        self.assertIn("--with-disks", self.said)
        await self.provision()
        self.assertEqual(self.zonal("disks/box-data")["id"], disk)
        self.assertEqual((await self.row()).facts["disk_zone"], ZONE)
        # As a second home of the same user would have made it.
        await Worker.objects.all().adelete()
        for rest in ("instances/box", "disks/box-data"):
            self.zonal(rest)["labels"]["offload-home"] = "another0home"
        said = await self.fleet("sweep", "--yes", "--with-disks", *mine)
        self.assertIn("of another home: instance box", said)
        self.assertIn("--other-homes", self.said)
        self.assertEqual(self.zonal("disks/box-data")["id"], disk)
        found = json.loads(await self.fleet("sweep", "--json", *mine))["swept"]
        self.assertEqual(len(found["other_homes"]), 2)
        await self.fleet("sweep", "--yes", "--with-disks", "--other-homes", *mine)
        self.assertIsNone(self.resource(f"zones/{ZONE}/disks/box-data"))

    async def test_prices_of_a_worker_and_of_machine_types(self) -> None:
        await self.provision()
        self.assertIn("USD an hour", await self.fleet("price", "box"))
        table = await self.fleet(
            "price", "--zones", "europe-west4-a", "--machine-type", "n2-standard-8,c4-standard-8"
        )
        self.assertIn("europe-west4, US dollars (estimates, prices of 2025-03-06", table)
        self.assertRegex(table, r"c4-standard-8 +8 +30 .*unconfirmed: hyperdisk-balanced")
        rows = json.loads(await self.fleet("price", "--json"))["prices"]
        self.assertIn("n2-standard-8", [row["machine_type"] for row in rows])
        self.assertTrue(all(row["estimate"] and row["source"] and row["as_of"] for row in rows))

    async def test_who_may_use_ssh(self) -> None:
        for words, error, text in (
            (("--source", "0.0.0.0/0"), Refused, "whole internet"),
            (("--source", "everybody"), UsageError, "no range"),
            (("--strategy", "external"), UsageError, "address range"),
            (("--strategy", "pigeon"), OffloadError, "pigeon"),
            (("--snapshot-days", "-1"), UsageError, "365 days"),
        ):
            with self.subTest(words), self.assertRaisesRegex(error, text):
                await self.provision(*words)
        await self.provision("--source", "0.0.0.0/0", "--open-to-the-world", "--strategy", "external,iap")
        rule = self.resource("global/firewalls/offload-offload-ssh")
        assert rule is not None
        self.assertEqual(rule["sourceRanges"], ["0.0.0.0/0"])
        self.assertTrue(self.zonal("instances/box")["networkInterfaces"][0]["accessConfigs"])
