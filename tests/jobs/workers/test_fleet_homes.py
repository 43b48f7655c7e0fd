"""Two homes of one person and one machine's name: nothing changes hands without a word."""

from __future__ import annotations

import json

from jobs.errors import Refused
from jobs.models import Worker
from jobs.providers.gce.provider import GceCosProvider
from tests.jobs.workers.test_fleet_verbs import IMAGE, FleetTest
from tests.support.gce_server import PROJECT, ZONE, config

ELSEWHERE = "another0home"


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
            Refused, rf"of yours \({ELSEWHERE}\) made.*box in {ZONE} on 20.*is up"
        ) as no:
            await self.provision("--network", "default")
        self.assertIn("--take-over", no.exception.hint)
        self.assertEqual((self.posts(), await Worker.objects.acount()), ([], 0))
        done = json.loads(await self.provision("--network", "default", "--take-over", "--json"))["worker"]
        (taken,) = done["adopted"]
        self.assertEqual((taken["kind"], taken["home"], taken["in_use"]), ("machine", ELSEWHERE, True))
        self.assertIn("Warning: Another Offload home", self.said)
        self.assertEqual((await self.row()).config["adopts"], [ELSEWHERE])
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
        with self.assertRaisesRegex(Refused, "needs a yes"):
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
        self.assertIn("nothing; it is gone already", self.said)
        self.assertEqual(self.posts(), [])
        self.assertEqual(self.zonal("instances/box")["status"], "RUNNING")
        self.assertIn("stopped: box", await self.fleet("panic", "--yes"))
        self.assertEqual((await self.row()).state, "absent")
