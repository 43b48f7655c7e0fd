"""Machines at Google: what is asked for, what is seen, and what survives."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.errors import UsageError, WorkerUnavailable
from jobs.providers.base import InstanceState
from jobs.providers.gce.cloud import GceCloud
from jobs.providers.gce.compute.template import read_spec
from tests.support.gce_server import NEVER, PROJECT, ZONE, Simulator, config, endpoint, provider


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with endpoint(Simulator(seconds=NEVER)) as found:
        yield found


def resource(simulator: Simulator, rest: str) -> dict[str, object]:
    return simulator.world.resources[f"projects/{PROJECT}/zones/{ZONE}/{rest}"]


async def test_what_is_asked_for(simulator: Simulator) -> None:
    await provider(repository="me/app").create({"user_data": "#cloud-config", "spot": True}, "worker")
    found = resource(simulator, "instances/worker")
    assert str(found["machineType"]).endswith("/n2-standard-8")
    assert "accessConfigs" not in found["networkInterfaces"][0]  # type: ignore[index]
    assert found["shieldedInstanceConfig"] == {
        "enableSecureBoot": True,
        "enableVtpm": True,
        "enableIntegrityMonitoring": True,
    }
    assert found["scheduling"] == {
        "provisioningModel": "SPOT",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
        "maxRunDuration": {"seconds": "43200"},
        "instanceTerminationAction": "STOP",
    }
    items = {one["key"]: one["value"] for one in found["metadata"]["items"]}  # type: ignore[index]
    assert items["enable-oslogin"] == items["enable-guest-attributes"] == "TRUE"
    assert items["user-data"] == "#cloud-config"
    assert "serviceAccounts" not in found
    assert found["labels"] == {
        "offload-schema": "1",
        "offload-owner": "me",
        "offload-repository": "me-app",
        "offload-worker": "worker",
    }
    disk = resource(simulator, "disks/worker-data")
    assert (disk["sizeGb"], str(disk["type"]).rpartition("/")[2]) == ("200", "pd-balanced")


async def test_its_disks(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    machine = resource(simulator, "instances/worker")
    disks: Any = machine["disks"]
    boot, data = disks
    assert (boot["boot"], boot["autoDelete"]) == (True, True)
    assert (data.get("boot"), data["autoDelete"], data["deviceName"]) == (None, False, "offload-data")
    found = resource(simulator, "disks/worker")
    assert (found["sizeGb"], str(found["type"]).rpartition("/")[2]) == ("20", "pd-balanced")
    assert str(found["sourceImage"]).endswith("projects/cos-cloud/global/images/family/cos-stable")
    assert "resourcePolicies" not in resource(simulator, "disks/worker-data")
    assert machine["tags"]["items"] == ["offload-worker"]  # type: ignore[index]
    assert "resourcePolicies" not in machine


@pytest.mark.parametrize(
    ("machine_type", "disk_type"),
    [
        ("e2-standard-2", "pd-balanced"),
        ("n2d-standard-2", "pd-balanced"),
        ("c3-standard-8", "pd-balanced"),
        ("c4-standard-8", "hyperdisk-balanced"),
        ("n4-standard-8", "hyperdisk-balanced"),
    ],
)
async def test_both_disks_are_of_a_type_that_the_series_takes(
    simulator: Simulator, machine_type: str, disk_type: str
) -> None:
    await provider().create({"machine_type": machine_type}, "worker")
    for name in ("worker", "worker-data"):
        assert str(resource(simulator, f"disks/{name}")["type"]).endswith(f"/{disk_type}")


async def test_a_series_that_cannot_have_the_disk_is_refused_before_google_is_asked(
    simulator: Simulator,
) -> None:
    await provider().create({}, "worker")
    simulator.settle()
    await provider().stop("worker")
    simulator.settle()
    wrong = "c4-standard-8 cannot have the disk worker(-data)?, which is a pd-balanced"
    with pytest.raises(UsageError, match=wrong):
        await provider().resize("worker", "c4-standard-8")
    link = f"zones/{ZONE}/machineTypes/c4-standard-8"
    found = await provider().raw("worker")
    assert found
    with pytest.raises(UsageError, match="pd-balanced disk type cannot be used by c4-standard-8"):
        await provider().act("set_machine_type", "worker", found, "Asking", {"machineType": link})
    await provider().delete("worker")
    simulator.settle()
    asked = len(simulator.world.operations)
    with pytest.raises(UsageError, match=wrong):
        await provider().create({"machine_type": "c4-standard-8"}, "worker")
    with pytest.raises(UsageError, match="e2-standard-2 takes no hyperdisk-balanced"):
        await provider().create(
            {"machine_type": "e2-standard-2", "data_disk_type": "hyperdisk-balanced"}, "w2"
        )
    assert len(simulator.world.operations) == asked
    await provider().create({"machine_type": "e2-standard-2"}, "worker")


def test_arm_has_an_image_of_its_own() -> None:
    assert read_spec({"machine_type": "c4a-standard-8"}).source_image.endswith("/family/cos-arm64-stable")


async def test_it_has_the_identity_that_was_named_and_no_other(simulator: Simulator) -> None:
    email = f"worker@{PROJECT}.iam.gserviceaccount.com"
    await provider().create({"service_account": email}, "worker")
    assert resource(simulator, "instances/worker")["serviceAccounts"] == [
        {"email": email, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
    ]


async def test_on_demand_it_still_has_a_deadline(simulator: Simulator) -> None:
    await provider().create({"max_run_seconds": 3600}, "worker")
    assert resource(simulator, "instances/worker")["scheduling"] == {
        "provisioningModel": "STANDARD",
        "maxRunDuration": {"seconds": "3600"},
        "instanceTerminationAction": "STOP",
    }
    await provider().create({"max_run_seconds": 0}, "other")
    assert resource(simulator, "instances/other")["scheduling"] == {"provisioningModel": "STANDARD"}


async def test_its_data_disk_is_saved_by_a_schedule(simulator: Simulator) -> None:
    spec = {"snapshot_days": 7}
    cloud = GceCloud(config(spec=spec))
    said = []
    while step := await cloud.create_shared(ZONE):
        said.append(step)
        simulator.settle()
    assert said[-1] == "Making the snapshot schedule offload-snapshots-7d."
    policy = simulator.world.resources[
        f"projects/{PROJECT}/regions/us-central1/resourcePolicies/offload-snapshots-7d"
    ]
    assert policy["snapshotSchedulePolicy"] == {
        "schedule": {"dailySchedule": {"daysInCycle": 1, "startTime": "04:00"}},
        "retentionPolicy": {"maxRetentionDays": 7, "onSourceDiskDelete": "APPLY_RETENTION_POLICY"},
        "snapshotProperties": {"labels": {"offload-schema": "1"}},
    }
    await cloud.create(spec, "worker")
    links: Any = resource(simulator, "disks/worker-data")["resourcePolicies"]
    (link,) = links
    assert link.endswith("/regions/us-central1/resourcePolicies/offload-snapshots-7d")
    assert "resourcePolicies" not in resource(simulator, "disks/worker")


async def test_data_disk_outlives_the_machine_and_is_attached_again(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    simulator.settle()
    disk = await provider().disk("worker")
    await provider().delete("worker")
    simulator.settle()
    assert [one["name"] for one in await provider().disks()] == ["worker-data"]
    await provider().create({}, "worker")
    simulator.settle()
    again = await provider().disk("worker")
    assert disk
    assert again
    assert again["id"] == disk["id"]
    assert str(again["users"][0]).endswith("/instances/worker")


async def test_stopping_twice_within_the_hour_stops_twice(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    for _ in range(2):
        simulator.settle()
        await provider().stop("worker")
        simulator.settle()
        instance = await provider().get("worker")
        assert instance
        assert (instance.state, instance.data["because"]) == (InstanceState.STOPPED, "stopped")
        await provider().start("worker")


@pytest.mark.parametrize(("what", "because"), [("preempted", "preempted"), ("guestTerminate", "guest")])
async def test_why_it_is_down(simulator: Simulator, what: str, because: str) -> None:
    await provider().create({"spot": True}, "worker")
    simulator.settle()
    simulator.happen(what, "worker")
    instance = await provider().get("worker")
    assert instance
    assert (instance.state, instance.data["because"]) == (InstanceState.STOPPED, because)


async def test_deadline_outside_the_guest(simulator: Simulator) -> None:
    await provider().create({"max_run_seconds": 30}, "worker")
    simulator.settle()
    instance = await provider().get("worker")
    assert instance
    assert instance.data["deadline"]
    then = "2000-01-01T00:00:00.000-08:00"
    resource(simulator, "instances/worker").update(
        lastStartTimestamp=then, resourceStatus={"scheduling": {"terminationTimestamp": then}}
    )
    instance = await provider().get("worker")
    assert instance
    assert (instance.state, instance.data["because"]) == (InstanceState.STOPPED, "deadline")


async def test_address_changes_with_each_start(simulator: Simulator) -> None:
    there = provider(strategy="external")
    await there.create({"external_ip": True}, "worker")
    seen = []
    for _ in range(2):
        simulator.settle()
        instance = await there.get("worker")
        assert instance
        seen.append(there.endpoint(instance).host)
        await there.stop("worker")
        simulator.settle()
        await there.start("worker")
    assert seen[0] != seen[1]


async def test_list_comes_in_pages_and_leaves_out_what_is_not_ours(simulator: Simulator) -> None:
    simulator.page_size, simulator.empty_pages = 2, True
    for number in range(5):
        await provider().create({"machine_type": "e2-standard-2"}, f"worker-{number}")
    await provider(owner="another owner").create({"machine_type": "e2-standard-2"}, "other")
    assert sorted(one.name for one in await provider().list()) == [f"worker-{number}" for number in range(5)]
    assert len(await provider().disks()) == 10


async def test_operation_that_was_lost(simulator: Simulator) -> None:
    simulator.fail("lost-operation", "POST .*instances$")
    await provider().create({}, "worker")
    await provider().create({}, "worker")
    simulator.settle()
    assert await provider().failure("worker") is None
    assert [one.state for one in await provider().list()] == [InstanceState.RUNNING]


async def test_byte_fields_are_base64_and_guard_against_lost_changes(simulator: Simulator) -> None:
    """gcloud reads no machine whose fingerprints are not base64, and sends them with each change."""
    await provider().create({}, "worker")
    simulator.settle()
    found = json.dumps(list(simulator.world.resources.values()))
    fields = re.findall(r'"(\w*[fF]ingerprint)": "([^"]*)"', found)
    assert len(fields) == 6  # machine: its own, labels, metadata, tags; both disks: labels
    assert all(base64.b64decode(value, validate=True) for _, value in fields)
    api = provider().api
    for verb, body, key in (
        ("set_labels", {"labels": {"a": "b"}}, "labelFingerprint"),
        ("set_tags", {"items": ["a"]}, "fingerprint"),
        ("set_metadata", {"items": []}, "fingerprint"),
    ):
        machine = await provider().raw("worker")
        assert machine
        part = verb.removeprefix("set_")
        now = machine[key] if part == "labels" else machine[part][key]
        change = {**body, key: now}
        where = {"zone": ZONE, "instance": "worker"}
        await api.call("instances", verb, "Changing", change, **where)
        with pytest.raises(WorkerUnavailable, match="does not match current"):
            await api.call("instances", verb, "Changing", change, **where)


async def test_two_at_once_make_one_machine(simulator: Simulator) -> None:
    await asyncio.gather(*(provider().create({}, "worker") for _ in range(4)))
    simulator.settle()
    assert [one.state for one in await provider().list()] == [InstanceState.RUNNING]
    assert [one["name"] for one in await provider().disks()] == ["worker", "worker-data"]
    assert await provider().failure("worker") is None


async def test_resize(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    simulator.settle()
    with pytest.raises(UsageError):
        await provider().resize("worker", "n2-standard-16")
    await provider().stop("worker")
    simulator.settle()
    await provider().resize("worker", "n2-standard-16")
    simulator.settle()
    instance = await provider().get("worker")
    assert instance
    assert instance.data["machine_type"] == "n2-standard-16"


async def test_a_boot_is_followed_on_the_console_and_guest_attributes_are_asked_rarely(
    simulator: Simulator,
) -> None:
    cloud, boot = GceCloud(config()), "0b1f7d3e-0000-4000-8000-000000000001"
    assert await cloud.report("worker") == {}
    await cloud.create({}, "worker")
    simulator.settle()
    lines = f"offload: boot {boot}\n[    3.1] noise\noffload: booting: image\noffload: fai"
    simulator.publish("worker", "hostkeys", {"ssh-ed25519": "AAAA"}, lines)
    for _ in range(12):  # as a caller does that waits for a boot
        assert await cloud.host_keys("worker") == ["ssh-ed25519 AAAA"]
        assert await cloud.report("worker") == {
            "state": "booting", "step": "image", "error": "", "boot_id": boot,
        }  # fmt: skip
    simulator.publish("worker", "hostkeys", {}, "led: image: pulling x failed: no such image\n")
    said = await cloud.report("worker")
    assert (said["state"], said["error"]) == ("failed", "pulling x failed: no such image")
    assert [one[1] for one in simulator.requests if "getGuest" in one[1]] == [
        f"projects/{PROJECT}/zones/{ZONE}/instances/worker/getGuestAttributes"
    ]
    # The simulator refuses what Google refuses: more than three in a second.
    for _ in range(2):
        await provider().host_keys("worker")
    with pytest.raises(WorkerUnavailable, match="guest attributes"):
        await provider().host_keys("worker")


async def test_what_the_guest_says(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    simulator.settle()
    assert await provider().host_keys("worker") == []
    simulator.publish("worker", "hostkeys", {"ssh-ed25519": "AAAA"}, "Mounting the data disk\n")
    assert await provider().host_keys("worker") == ["ssh-ed25519 AAAA"]
    text, following = await provider().serial("worker")
    assert text.endswith("Mounting the data disk\n")
    assert await provider().serial("worker", following) == ("", following)


async def test_ways_to_reach_it(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    instance = await provider().get("worker")
    assert instance
    iap = provider(user="me_example_org").endpoint(instance)
    assert iap.proxy_command == (
        *("gcloud", "compute", "start-iap-tunnel", "worker", "22", "--listen-on-stdin"),
        *(f"--project={PROJECT}", f"--zone={ZONE}", "--verbosity=warning"),
    )
    assert (iap.host, iap.user, iap.pin_new_host) == (None, "me_example_org", False)
    assert iap.config_host == f"compute.{instance.data['id']}"
    words = [one.refused for one in iap.proxy_words]
    assert words == [True, False, True, True, False, False, False]
    both = provider(strategy="auto")
    assert list(both.ways(instance)) == ["iap", "internal"]  # it has no public address
    assert both.endpoint(instance).proxy_command
    internal = provider(strategy="internal", suffix="internal.example.org").endpoint(instance)
    assert internal.host == f"nic0.worker.{ZONE}.c.{PROJECT}.internal.example.org"
    assert internal.proxy_command is None
