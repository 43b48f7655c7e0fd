"""What stands around the machines: network, prices, and a simulator with real servers behind it."""

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
from jobs.providers.gce.compute import api, naming, prices
from jobs.providers.gce.compute.api import Api, endpoint_override
from jobs.providers.gce.compute.network import IAP_RANGE, Network, check_source
from jobs.providers.gce.compute.template import read_settings
from jobs.simulator.connect import tunnel
from jobs.simulator.machines import SshdMachines
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
    for owner, text, hint in (
        ("Me", "lets in", "Delete the rule first"),
        ("Colleague", "lets in .* Offload made it for me", f"--network, or the same --source {IAP_RANGE}"),
    ):
        with pytest.raises(UsageError, match=text) as caught:
            await Network(
                Api(PROJECT, endpoint_override()),
                read_settings(config(network="", owner=owner)),
                "10.0.0.0/8",
            ).ensure()
        assert hint in caught.value.hint
        assert ("gcloud" in caught.value.hint) == (owner == "Me")
    rule["description"] = "By hand."
    with pytest.raises(UsageError, match="not Offload's"):
        await Network(
            Api(PROJECT, endpoint_override()), read_settings(config(network="")), "10.0.0.0/8"
        ).ensure()
    rule["description"] = naming.description("Me")


async def test_operations_can_be_waited_for(simulator: Simulator) -> None:
    simulator.world.seconds = 0.3
    await provider().create({}, "worker")
    google = Api(PROJECT, endpoint_override())
    (operation,) = await google.history("zone_operations", "instances/worker", zone=ZONE)
    assert operation["status"] == "RUNNING"
    fields = {"zone": ZONE, "operation": operation["name"]}
    done = await google.call("zone_operations", "wait", "Waiting", None, **fields)
    assert done["status"] == "DONE"
    again = await google.call("zone_operations", "get", "Reading", None, **fields)
    assert again["endTime"] == done["endTime"]


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
    small = prices.estimate("e2-standard-2", "us-central1", {"pd-ssd": 10}, nat=False)
    assert small.machine_hour == pytest.approx(0.06701142)
    assert len(small.notes) == 1


@pytest.mark.parametrize(
    ("machine_type", "region", "hour", "spot"),
    [
        ("c3-standard-8", "us-central1", 0.403216, 0.074176),
        ("c3-highmem-88", "us-central1", 5.821552, None),
        ("c3-standard-176", "europe-west1", 9.76758464, 3.331328),
        ("c4-highmem-2", "us-central1", 0.12837, 0.0502),
        ("c4-highmem-192", "europe-west4", 13.1381712, 5.254956),
        ("n2d-standard-48", "europe-west1", 2.230704, 0.74592),
        ("n4-standard-2", "europe-west1", 0.104353456, 0.033252),
        ("n4-highmem-80", "us-central1", 4.97552, None),
    ],
)
def test_newer_series_cost_what_the_list_says(
    machine_type: str, region: str, hour: float, spot: float | None
) -> None:
    found = prices.estimate(machine_type, region, {}, nat=False)
    assert found.machine_hour == pytest.approx(hour, rel=1e-4)
    assert found.source == prices.SOURCE
    if spot is not None:
        there = prices.estimate(machine_type, region, {}, nat=False, spot=True)
        assert there.machine_hour == pytest.approx(spot, rel=0.01)


def test_what_is_unconfirmed_says_so() -> None:
    disk = prices.estimate("c4-standard-8", "us-central1", {"hyperdisk-balanced": 220})
    assert disk.source.endswith("; unconfirmed: hyperdisk-balanced")
    elsewhere = prices.estimate("c4-standard-8", "europe-west3", {})
    assert elsewhere.source.endswith("; unconfirmed: c4 in europe-west3")
    nowhere = prices.estimate("n2-standard-8", "moon-north1", {"pd-balanced": 220})
    assert "the prices of moon-north1" in nowhere.source
    there = prices.estimate("n2-standard-8", "europe-west3", {"pd-balanced": 100})
    assert there.disks_month == pytest.approx(12.0)
    assert prices.shape("c4-highmem-2") == (2, 15.0)


def test_only_the_parts_of_the_library_that_are_in_use_are_imported() -> None:
    code = (
        "import sys; from jobs.providers.gce.compute import api; api.load_library()\n"
        "print(type(api._client('disks', 'http://127.0.0.1:1')).__name__)\n"
        "print(*(name for name in sys.modules if 'compute_v1' in name and name.endswith('.client')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    client, *modules = done.stdout.split()
    assert client == "DisksClient"
    assert 2 <= len(modules) <= 4, modules


def test_each_library_is_imported_by_its_modules_only() -> None:
    gce = Path(api.__file__).parents[1]
    texts = {path: path.read_text() for path in gce.parents[1].rglob("*.py")}
    modules_of = {
        "google." + "cloud": ["compute/api.py"],
        "google." + "auth": ["compute/api.py", "compute/rest.py", "identity/credentials.py"],
    }
    for library, modules in modules_of.items():
        imported = f'"{library}.'
        users = [path for path, text in texts.items() if imported in text or f"import {library}" in text]
        assert sorted(users) == [gce / module for module in modules], library


async def test_simulator_survives_its_own_death(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "jobs.simulator"]
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
        with endpoint(Simulator(machines=machines)):
            there = provider(home=str(tmp_path), key=str(key), tunnel=tunnel(tmp_path / "machines"))
            await there.create({}, "worker")
            instance = await there.get("worker")
            assert instance
            target = there.endpoint(instance)
            (published,) = await there.host_keys("worker")
            target.known_hosts.write_text(f"{target.config_host} {published}\n")
            done = await pool.transport(target).run(
                ["sh", "-c", "echo hi > ~/kept; env -i HOME=$HOME/job setsid sleep 600 >&- 2>&- & echo $!"]
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
