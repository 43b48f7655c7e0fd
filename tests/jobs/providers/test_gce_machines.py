"""Machines at Google: what is asked for, what is seen, and what survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import Refused, UsageError
from jobs.providers.base import InstanceState
from jobs.providers.gce import api, prices
from jobs.providers.gce.api import Api, endpoint_override
from jobs.providers.gce.network import IAP_RANGE, Network, check_source
from jobs.providers.gce.simulator.connect import tunnel
from jobs.providers.gce.simulator.machines import SshdMachines
from jobs.providers.gce.template import read_settings
from jobs.transport.pool import Pool
from jobs.transport.ssh import Timing
from tests.support.gce_server import NEVER, PROJECT, ZONE, Simulator, config, endpoint, provider
from tests.support.sshd import make_key


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with endpoint(Simulator(seconds=NEVER)) as found:
        yield found


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.02)


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


async def test_series_without_persistent_disk(simulator: Simulator) -> None:
    await provider().create({"machine_type": "c4-standard-8"}, "worker")
    for name in ("worker", "worker-data"):
        assert str(resource(simulator, f"disks/{name}")["type"]).endswith("/hyperdisk-balanced")


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
    await provider(owner="somebody else").create({"machine_type": "e2-standard-2"}, "other")
    assert sorted(one.name for one in await provider().list()) == [f"worker-{number}" for number in range(5)]
    assert len(await provider().disks()) == 10


async def test_operation_that_was_lost(simulator: Simulator) -> None:
    simulator.fail("lost-operation", "POST .*instances$")
    await provider().create({}, "worker")
    await provider().create({}, "worker")
    simulator.settle()
    assert await provider().failure("worker") is None
    assert [one.state for one in await provider().list()] == [InstanceState.RUNNING]


async def test_endpoint_that_offers_less(simulator: Simulator) -> None:
    """Without operations to be listed, filters over zones, or answers that can be read."""
    simulator.lacks = "aggregated/|operations$"
    simulator.fail("odd-answer", "POST|DELETE", times=100)
    for _ in range(2):  # twice within the hour: the ids of requests must not repeat
        await provider().create({}, "worker")
        for _ in range(2):
            simulator.settle()
            assert [one.state for one in await provider().list()] == [InstanceState.RUNNING]
            await provider().stop("worker")
            simulator.settle()
            assert [one.state for one in await provider().list()] == [InstanceState.STOPPED]
            await provider().start("worker")
        await provider().delete("worker")
        simulator.settle()
        assert list(await provider().list()) == []
        assert [one["name"] for one in await provider().disks()] == ["worker-data"]
    assert await provider().failure("worker") is None


async def test_resize_and_metadata(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    simulator.settle()
    with pytest.raises(UsageError):
        await provider().resize("worker", "n2-standard-16")
    await provider().stop("worker")
    simulator.settle()
    await provider().resize("worker", "n2-standard-16")
    await provider().set_metadata("worker", {"user-data": "new"})
    simulator.settle()
    instance = await provider().get("worker")
    assert instance
    assert instance.data["machine_type"] == "n2-standard-16"
    items = resource(simulator, "instances/worker")["metadata"]["items"]  # type: ignore[index]
    assert {"key": "user-data", "value": "new"} in items
    assert {"key": "enable-oslogin", "value": "TRUE"} in items


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
    internal = provider(strategy="internal", suffix="internal.example.org").endpoint(instance)
    assert internal.host == f"nic0.worker.{ZONE}.c.{PROJECT}.internal.example.org"
    assert internal.proxy_command is None


async def test_network_is_made_and_removed_step_by_step(simulator: Simulator) -> None:
    network = Network(Api(PROJECT, endpoint_override()), read_settings(config(network="")))
    steps = []
    while step := await network.ensure():
        steps.append(step)
        if not step.asked:
            simulator.settle()
        assert len(steps) < 20
    simulator.settle()
    assert [step.text.split()[2] for step in steps if step.asked] == [
        "network",
        "subnetwork",
        "router",
        "firewall",
    ]
    assert any(not step.asked for step in steps)  # the subnetwork had to wait for the network
    root = f"projects/{PROJECT}"
    rule = simulator.world.resources[f"{root}/global/firewalls/offload-offload-ssh"]
    assert rule["sourceRanges"] == [IAP_RANGE]
    assert rule["allowed"] == [{"IPProtocol": "tcp", "ports": ["22"]}]
    subnetwork = simulator.world.resources[f"{root}/regions/us-central1/subnetworks/offload"]
    assert (subnetwork["privateIpGoogleAccess"], subnetwork["network"]) == (
        True,
        f"{root}/global/networks/offload",
    )
    assert simulator.world.resources[f"{root}/regions/us-central1/routers/offload-router"]["nats"]
    assert await network.ensure() is None
    await provider(network="").create({}, "worker")
    with pytest.raises(UsageError, match="lets in"):
        await Network(
            Api(PROJECT, endpoint_override()), read_settings(config(network="")), "10.0.0.0/8"
        ).ensure()
    await provider(network="").delete("worker")
    simulator.settle()
    for _ in range(20):
        if await network.remove() is None:
            break
        simulator.settle()
    left = [path for path in simulator.world.resources if "offload" in path]
    assert left == []


def test_the_whole_internet_is_refused() -> None:
    for everybody in ("0.0.0.0/0", "::/0"):
        with pytest.raises(Refused):
            check_source(everybody)
        assert check_source(everybody, world=True) == everybody
    with pytest.raises(UsageError):
        check_source("everybody")
    assert check_source("192.0.2.7") == "192.0.2.7/32"


def test_prices_are_those_of_the_list() -> None:
    found = prices.estimate("n2-highmem-16", "europe-west1", {"pd-balanced": 220}, nat=False)
    assert found.machine_hour == pytest.approx(1.152976)
    spot = prices.estimate("n2-highmem-16", "us-central1", {"pd-balanced": 220}, spot=True, nat=False)
    assert spot.machine_hour == pytest.approx(0.323456)
    assert spot.disks_month == pytest.approx(22.0)
    standard = prices.estimate("n2-standard-8", "us-central1", {}, nat=False)
    assert standard.machine_hour == pytest.approx(0.388472)
    assert prices.estimate("x9-mega-1", "us-central1", {}).month is None
    assert prices.AS_OF in found.notes[0]


def test_the_library_is_behind_one_door() -> None:
    room = Path(api.__file__).parents[2]
    users = [path for path in room.rglob("*.py") if "google." + "cloud.compute" in path.read_text()]
    assert users == [Path(api.__file__)]


async def test_simulator_survives_its_own_death(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "jobs.providers.gce.simulator"]
    argv += ["--state", str(tmp_path / "state.json"), "--seconds", "0"]
    for round_ in range(2):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        try:
            assert process.stdout
            with process.stdout:
                url = process.stdout.readline().strip()
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv(api.ENDPOINT_VARIABLE, url)
                    if round_ == 0:
                        await provider().create({}, "worker")
                    instance = await provider().get("worker")
                    assert instance
                    assert instance.state is InstanceState.RUNNING
                urllib.request.urlopen(f"{url}/simulator/settle", b"{}").close()  # noqa: ASYNC210
        finally:
            api.close_clients()
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


async def test_a_real_server_behind_the_machine(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    machines = SshdMachines(tmp_path / "machines", Path(f"{key}.pub").read_text())
    pool = Pool(Timing(connect=30.0, keepalive=10.0))
    try:
        with endpoint(Simulator(machines=machines)) as simulator:
            there = provider(home=str(tmp_path), key=str(key), tunnel=tunnel(simulator.url))
            await there.create({}, "worker")
            instance = await there.get("worker")
            assert instance
            target = there.endpoint(instance)
            (published,) = await there.host_keys("worker")
            target.known_hosts.write_text(f"{target.config_host} {published}\n")
            done = await pool.transport(target).run(
                ["sh", "-c", "echo hi > ~/kept; setsid sleep 600 >&- 2>&- & echo $!"]
            )
            sleeper = int(done.stdout)
            os.kill(sleeper, 0)  # it lives
            await pool.aclose()
            await there.stop("worker")
            stopped = await there.get("worker")
            assert stopped
            assert stopped.state is InstanceState.STOPPED
            assert machines.port("worker") is None
            wait_until_gone(sleeper)
            await there.start("worker")
            assert await there.get("worker")
            assert await there.host_keys("worker") == [published]
            again = await pool.transport(target).run(["sh", "-c", "cat ~/kept"])
            assert again.stdout == b"hi\n"
    finally:
        await pool.aclose()
        machines.stop_all()
