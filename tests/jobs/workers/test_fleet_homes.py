"""Two homes of one person and one machine's name: nothing changes hands without a word."""

from __future__ import annotations

import json

from jobs.errors import Refused, UsageError
from jobs.models import Worker
from jobs.providers.gce.provider import GceCosProvider
from tests.jobs.workers.test_fleet_verbs import IMAGE, OTHER, FleetTest
from tests.support.gce_server import PROJECT, ZONE, config

ELSEWHERE = "another0home"
FAR = "europe-west1-b"


class Homes(FleetTest):
    async def made_elsewhere(self) -> None:
        """Have another home of the same owner make a machine of our worker's name."""
        away = GceCosProvider(config(owner="me", home_id=ELSEWHERE))
        await away.create({"machine_type": "e2-standard-2"}, "box")
        self.simulator.settle()
        self.simulator.requests.clear()

    def posts(self) -> list[str]:
        return [path for method, path, _ in self.simulator.requests if method == "POST"]

    async def test_a_machine_that_is_up_for_another_home_is_not_taken(self) -> None:
        await self.made_elsewhere()
        with self.assertRaisesRegex(
            Refused, rf"of yours \({ELSEWHERE}\) made.*box in {ZONE} on 20.*is running"
        ) as no:
            await self.provision("--network", "default")
        self.assertIn("--take-over", no.exception.hint)
        self.assertEqual((self.posts(), await Worker.objects.acount()), ([], 0))
        done = json.loads(await self.provision("--network", "default", "--take-over", "--json"))["worker"]
        (taken,) = done["adopted"]
        self.assertEqual((taken["kind"], taken["home"], taken["in_use"]), ("machine", ELSEWHERE, True))
        self.assertIn("Warning: Another Offload home", self.said)
        self.assertEqual((await self.row()).facts["adopts"], [ELSEWHERE])
        # From then on it is the worker's: nothing is asked again, and it goes with its disks.
        await self.fleet("stop", "box")
        await self.fleet("start", "box")
        await self.fleet("delete", "box", "--yes", "--with-disk")
        with self.simulator.world.lock:
            self.assertEqual([path for path in self.simulator.world.resources if "/box" in path], [])

    async def test_what_is_down_of_another_home_is_named_before_the_yes(self) -> None:
        await self.made_elsewhere()
        self.zonal("instances/box")["status"] = "TERMINATED"
        plan = ("provision", "box", "--project", PROJECT, "--image", IMAGE, "--zones", ZONE, "--owner", "me",
                "--network", "default")  # fmt: skip
        with self.assertRaisesRegex(Refused, "Confirmation required"):
            await self.fleet(*plan, "--no-input")
        self.assertRegex(self.said, f"Warning: .*{ELSEWHERE}.* made the machine box in {ZONE}")
        self.assertEqual((self.posts(), await Worker.objects.acount()), ([], 0))
        await GceCosProvider(config(owner="me", home_id=ELSEWHERE)).delete("box")
        self.simulator.settle()
        done = json.loads(await self.provision("--network", "default", "--json"))["worker"]
        self.assertEqual([(one["kind"], one["home"]) for one in done["adopted"]], [("data disk", ELSEWHERE)])
        self.assertEqual(self.zonal("disks/box-data")["labels"]["offload-home"], ELSEWHERE)
        self.assertEqual(self.zonal("instances/box")["status"], "RUNNING")

    async def test_a_row_without_a_machine_is_not_anothers_machine(self) -> None:
        await self.provision("--network", "default")
        await self.fleet("delete", "box", "--yes", "--with-disk")
        await self.made_elsewhere()
        with self.assertRaisesRegex(Refused, rf"another Offload home of yours made \({ELSEWHERE}\)"):
            await self.fleet("start", "box")
        self.assertEqual((await self.row()).state, "absent")
        self.assertIn("was not running", await self.fleet("stop", "box"))
        await self.fleet("delete", "box", "--yes", "--with-disk")
        self.assertIn("has no machine any more", self.said)
        self.assertEqual(self.posts(), [])
        self.assertEqual(self.zonal("instances/box")["status"], "RUNNING")
        self.assertIn("stopped: box", await self.fleet("panic", "--yes"))
        self.assertEqual((await self.row()).state, "absent")

    async def test_a_data_disk_that_was_kept_outside_the_zones_of_the_plan_is_used_and_named(self) -> None:
        plan = ("provision", "box", "--project", PROJECT, "--image", IMAGE, "--owner", "me",
                "--machine-only", "--network", "default")  # fmt: skip
        await self.fleet(*plan, "--zones", FAR, "--yes")
        await self.fleet("delete", "box", "--yes")
        disk = self.zonal("disks/box-data", FAR)["id"]
        await Worker.objects.all().adelete()  # the database is lost
        with self.assertRaisesRegex(Refused, "Confirmation required"):
            await self.fleet(*plan, "--zones", f"{ZONE},{OTHER}", "--no-input")
        said = self.said.splitlines()
        at = said.index(f"The data disk of box is in {FAR}, and so its machine is made there.")
        self.assertRegex("\n".join(said[at:]), rf"box: .*, in {FAR} of {PROJECT}\.")
        await self.fleet(*plan, "--zones", f"{ZONE},{OTHER}", "--yes")
        self.assertEqual(self.zonal("instances/box", FAR)["status"], "RUNNING")
        self.assertEqual(self.zonal("disks/box-data", FAR)["id"], disk)
        self.assertIsNone(self.resource(f"zones/{ZONE}/disks/box-data"))
        self.assertEqual((await self.row()).facts["disk_zone"], FAR)

    async def test_a_place_of_the_kept_disk_that_lacks_the_machine_is_said_before_anything_is_made(
        self,
    ) -> None:
        await self.provision("--network", "default", zones=FAR)
        await self.fleet("delete", "box", "--yes")
        await Worker.objects.all().adelete()
        self.simulator.requests.clear()
        with self.assertRaisesRegex(UsageError, f"There is no n7-nothing-2 in {FAR}"):
            await self.provision("--network", "default", "--machine-type", "n7-nothing-2")
        self.assertEqual((self.posts(), await Worker.objects.acount()), ([], 0))

    async def test_another_homes_data_disk_outside_the_zones_of_the_plan_is_named_and_left(self) -> None:
        await self.made_elsewhere()
        await GceCosProvider(config(owner="me", home_id=ELSEWHERE)).delete("box")
        self.simulator.settle()
        theirs = dict(self.zonal("disks/box-data"))
        done = json.loads(await self.provision("--network", "default", "--json", zones=OTHER))["worker"]
        self.assertEqual(done["adopted"], [])
        self.assertRegex(
            self.said, f"Warning: .*{ELSEWHERE}.* the data disk box-data in {ZONE}.*--zones {ZONE}"
        )
        self.assertEqual(self.zonal("disks/box-data"), theirs)
        self.assertEqual(
            self.zonal("disks/box-data", OTHER)["users"], self.zonal("disks/box", OTHER)["users"]
        )
