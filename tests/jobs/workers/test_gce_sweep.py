"""A sweep of a project at Google: of each kind one with a row, and one orphan, foreign or unowned each."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import TransactionTestCase

from jobs.errors import NotConfigured
from jobs.models import Worker
from jobs.providers.gce.cloud import GceCloud
from jobs.providers.gce.compute import naming
from jobs.workers import sweep, waiting
from jobs.workers.home import home_id
from tests.support.gce_server import PROJECT, ZONE, Simulator, config, endpoint

REGION, OTHER_REGION = "us-central1", "us-east1"
ROOT = f"projects/{PROJECT}"


class GceSweep(TransactionTestCase):
    def setUp(self) -> None:
        self.simulator = self.enterContext(endpoint(Simulator()))
        self.root = self.enterContext(tempfile.TemporaryDirectory())
        pause, waiting.FIRST_PAUSE = waiting.FIRST_PAUSE, 0.01
        self.addCleanup(setattr, waiting, "FIRST_PAUSE", pause)

    def config(self, **more: Any) -> dict[str, Any]:
        spec = {"machine_type": "e2-standard-2"}
        base = {"network": "", "zones": [ZONE], "spec": spec, "home_id": home_id(settings.OFFLOAD.home)}
        return config(**{**base, **more})

    def home(self) -> str:
        return home_id(settings.OFFLOAD.home)

    async def create_shared(self, zone: str = ZONE, **more: Any) -> None:
        cloud = GceCloud(self.config(**more))
        while await cloud.create_shared(zone) is not None:
            pass

    async def make(self, name: str, **more: Any) -> None:
        """Make a machine and an address, without a row."""
        cloud = GceCloud(self.config(**more))
        await cloud.create({"machine_type": "e2-standard-2"}, name)
        made = self.config(**more)
        labels = naming.labels(name, str(made["owner"]), "", str(made["home_id"]))
        address = {"name": f"{name}-ip", "labels": labels}
        self.add(f"regions/{REGION}/addresses/{name}-ip", "address", address)

    def add(self, rest: str, kind: str, body: dict[str, Any]) -> None:
        with self.simulator.world.lock:
            self.simulator.world.add(kind, f"{ROOT}/{rest}", {"name": rest.rpartition("/")[2], **body})

    def left(self) -> list[str]:
        with self.simulator.world.lock:
            return sorted(path.removeprefix(f"{ROOT}/") for path in self.simulator.world.resources)

    async def row(self, name: str, **more: Any) -> Worker:
        return await Worker.objects.acreate(
            name=name, provider="gce-cos", root=str(Path(self.root)), config=self.config(**more), desired="up"
        )

    async def test_one_of_each_kind(self) -> None:
        # A row's: network in its region, machine, disks, address, schedule.
        days = {"spec": {"machine_type": "e2-standard-2", "snapshot_days": 7}}
        mine = {**self.config(), **days}
        cloud = GceCloud(mine)
        while await cloud.create_shared(ZONE) is not None:
            pass
        await self.make("kept")
        await Worker.objects.acreate(name="kept", provider="gce-cos", root="/r", config=mine, desired="up")
        # Orphans of ours: a machine with disks and address, a disk alone, a boot disk alone; the network's
        # part in another region, a rule in another network, a schedule that no machine uses.
        await self.make("lost")
        labels = naming.labels("gone", "Me", "", self.home())
        zone = f"zones/{ZONE}"
        self.add(f"{zone}/disks/gone-data", "disk", {"labels": labels, "sizeGb": "200", "status": "READY"})
        self.add(f"{zone}/disks/gone", "disk", {"labels": labels, "sizeGb": "20", "status": "READY"})
        await self.create_shared("us-east1-b")
        ours = naming.description("Me", self.home())
        self.add(
            "global/firewalls/old-offload-ssh",
            "firewall",
            {"description": ours, "network": "global/networks/old"},
        )
        self.add(
            f"regions/{REGION}/resourcePolicies/offload-snapshots-3d", "resourcePolicy", {"description": ours}
        )
        # Another owner's, with our marks.
        await self.make("theirs", owner="Stranger")
        other = naming.description("Stranger")
        theirs = naming.labels("away", "Stranger", "")
        self.add(f"{zone}/disks/away-data", "disk", {"labels": theirs, "status": "READY"})
        for rest, kind in (
            ("global/networks/theirs", "network"),
            ("global/firewalls/theirs-offload-ssh", "firewall"),
            (f"regions/{REGION}/routers/theirs-router", "router"),
            (f"regions/{REGION}/subnetworks/theirs", "subnetwork"),
            (f"regions/{REGION}/resourcePolicies/offload-snapshots-9d", "resourcePolicy"),
        ):
            self.add(rest, kind, {"description": other})
        # Nobody's that we know: no marks, or marks that only look like ours.
        for rest, kind in (
            (f"{zone}/instances/foreign", "instance"),
            (f"{zone}/disks/foreign-data", "disk"),
            (f"regions/{REGION}/addresses/foreign-ip", "address"),
            ("global/networks/foreign", "network"),
            ("global/firewalls/foreign-offload-ssh", "firewall"),
            (f"regions/{REGION}/routers/foreign-router", "router"),
            (f"regions/{REGION}/subnetworks/foreign", "subnetwork"),
            (f"regions/{REGION}/resourcePolicies/foreign", "resourcePolicy"),
        ):
            self.add(rest, kind, {"description": "Made by Offload. Or so they say.", "disks": []})
        before = self.left()

        found = await sweep.sweep(with_disks=True)
        self.assertEqual(found.failed, [])
        wanted = [
            "instance lost in us-central1-a",
            "address lost-ip in us-central1",
            "boot disk gone in us-central1-a",
            "disk gone-data in us-central1-a",
            "disk lost-data in us-central1-a",
            "firewall rule old-offload-ssh",
            "router offload-router in us-east1",
            "subnetwork offload in us-east1",
            "snapshot schedule offload-snapshots-3d in us-central1",
        ]
        self.assertEqual([str(one) for one in found.orphans], wanted)
        self.assertEqual(self.left(), before)

        found = await sweep.sweep(remove=True, with_disks=True)
        self.assertEqual(found.failed, [])
        self.assertEqual([str(one) for one in found.orphans], wanted)
        gone = {
            *(f"{zone}/{rest}" for rest in ("instances/lost", "disks/lost", "disks/lost-data")),
            *(f"{zone}/disks/{name}" for name in ("gone", "gone-data")),
            f"regions/{REGION}/addresses/lost-ip",
            "global/firewalls/old-offload-ssh",
            f"regions/{OTHER_REGION}/routers/offload-router",
            f"regions/{OTHER_REGION}/subnetworks/offload",
            f"regions/{REGION}/resourcePolicies/offload-snapshots-3d",
        }
        self.assertEqual(set(before) - set(self.left()), gone)
        self.assertEqual((await sweep.sweep(remove=True)).orphans, [])

    async def test_the_network_goes_when_nobody_stands_on_it(self) -> None:
        await self.create_shared()
        worker = await self.row("box")
        self.assertEqual((await sweep.sweep()).orphans, [])
        await Worker.objects.filter(id=worker.id).aupdate(desired="gone")
        # A colleague's machine is on the same network: no row of ours tells, the machine does.
        await GceCloud(self.config(owner="Colleague")).create({"machine_type": "e2-standard-2"}, "theirs")
        self.assertEqual((await sweep.sweep(remove=True)).orphans, [])
        await GceCloud(self.config(owner="Colleague")).delete("theirs")
        found = await sweep.sweep(remove=True)
        self.assertEqual(found.failed, [])
        self.assertEqual(
            [one.kind for one in found.orphans], ["firewall rule", "router", "subnetwork", "network"]
        )
        self.assertEqual([path for path in self.left() if "offload" in path], [])

    async def test_two_projects_and_two_owners_are_told_apart(self) -> None:
        await self.row("box", project="elsewhere")
        await self.row("other", owner="Second")
        await self.make("box", network="default")  # the row of this name is in another project
        await self.make("lost", network="default", owner="Second")
        found = await sweep.sweep(
            with_disks=True, extra=[Worker(name="sweep", provider="gce-cos", config=self.config())]
        )
        names = sorted(one.name for one in found.orphans)
        self.assertEqual(names, ["box", "box-data", "box-ip", "lost", "lost-data", "lost-ip"])

    async def test_what_cannot_go_is_told_and_keeps_nothing_else(self) -> None:
        await self.make("lost", network="default")
        self.simulator.fail("permission", "DELETE .*/addresses/", times=10)
        extra = [Worker(name="sweep", provider="gce-cos", config=self.config())]
        found = await sweep.sweep(remove=True, with_disks=True, extra=extra)
        self.assertEqual(len(found.failed), 1)
        self.assertIn("Removing the address lost-ip in us-central1 failed", found.failed[0])
        self.assertEqual(
            [path for path in self.left() if "lost" in path], [f"regions/{REGION}/addresses/lost-ip"]
        )

    async def test_what_another_home_made_and_data_stay_until_a_word_says_so(self) -> None:
        extra = [Worker(name="sweep", provider="gce-cos", config=self.config())]
        await self.make("mine", network="default")
        await self.make("theirs", network="default", home_id="another0home")
        await self.make("older", network="default", home_id="")
        before = self.left()
        found = await sweep.sweep(remove=True, extra=extra)
        self.assertEqual([str(one) for one in found.disks], ["disk mine-data in us-central1-a"])
        self.assertGreater(found.disks[0].month or 0, 1)
        self.assertEqual({one.owner for one in found.elsewhere}, {"theirs", "older"})
        zone = f"zones/{ZONE}"
        gone = {f"{zone}/instances/mine", f"{zone}/disks/mine", f"regions/{REGION}/addresses/mine-ip"}
        self.assertEqual(set(before) - set(self.left()), gone)
        # A panic is for machines of every home.
        self.assertEqual(sorted((await sweep.panic(extra=extra)).stopped), ["older", "theirs"])
        found = await sweep.sweep(remove=True, other_homes=True, extra=extra)
        self.assertEqual([path for path in self.left() if "/instances/" in path or "/addresses/" in path], [])
        disks = [f"{zone}/disks/{name}-data" for name in ("mine", "older", "theirs")]
        self.assertEqual([path for path in self.left() if "/disks/" in path], disks)
        await sweep.sweep(remove=True, other_homes=True, with_disks=True, extra=extra)
        self.assertEqual([path for path in self.left() if "/disks/" in path], [])

    async def test_the_network_under_a_machine_of_another_home_stays(self) -> None:
        await self.create_shared()
        await GceCloud(self.config(home_id="another0home")).create({"machine_type": "e2-standard-2"}, "box")
        extra = [Worker(name="sweep", provider="gce-cos", config=self.config(network="elsewhere"))]
        found = await sweep.sweep(remove=True, extra=extra)
        self.assertEqual((found.orphans, found.failed), ([], []))
        self.assertIn("global/networks/offload", self.left())


def test_a_home_has_one_id_for_ever(tmp_path: Path) -> None:
    found = {home_id(tmp_path / name) for name in ("one", "two")}
    assert len(found) == 2
    home_id.cache_clear()
    assert {home_id(tmp_path / name) for name in ("one", "two")} == found
    home_id.cache_clear()
    (tmp_path / "one" / "home-id").write_text("no id\n")
    with pytest.raises(NotConfigured, match="does not hold the id"):
        home_id(tmp_path / "one")
