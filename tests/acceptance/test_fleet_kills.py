"""kill -9 of real command lines, at every request to the API and every change of a row.

Before a request is carried out, and after it was but before its answer; before each statement that changes
the database. The same command again, or a sweep, ends in what was wanted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.providers.gce.compute import naming
from jobs.simulator import running
from tests.support.cli import Cli
from tests.support.gcloud import ACCOUNT, StubGcloud
from tests.support.kills import CHANGES, Held, OneSshd, Stage, everywhere
from tests.support.sshd import Sshd, make_key
from tests.support.zygote import zygote

pytestmark = pytest.mark.timeout(300)
PROJECT = "demo-project"
HOME, ELSEWHERE = "thishome0000", "another0home"
PROVISION = ("fleet", "provision", "box", "--simulate", "--yes")
# As at Google: there a home looks whose things are there before it takes the name.
TAKE = ("fleet", "provision", "box", "--project", PROJECT, "--image", "r.example/i@sha256:" + "a" * 64,
        "--owner", "me", "--network", "default", "--zones", "us-central1-a,us-central1-b", "--machine-only",
        "--take-over", "--yes")  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    tmp = tmp_path_factory.mktemp("kill")
    cli = Cli(tmp / "home", tmp)
    machines = running.machines(cli.home)
    with Sshd(tmp / "sshd") as sshd, Held(machines=OneSshd(sshd, machines)) as simulator:
        machines.mkdir(parents=True)
        for end in ("", ".pub"):
            shutil.copy(f"{sshd.client_key}{end}", running.place(cli.home) / f"key{end}")
        running.note(cli.home, simulator.url, os.getpid())
        with zygote(cli.env) as forked:
            stage = Stage(cli, simulator, forked)
            (cli.home / "home-id").write_text(f"{HOME}\n")
            forked.run("fleet", "ls")
            stage.keep("nothing")
            forked.run(*PROVISION)
            stage.keep("made")
            yield stage


def is_up_once(stage: Stage, zone: str = "us-central1-a") -> None:
    ((name, machine),) = stage.there("instances").items()
    assert (name, machine["status"], naming.last(machine["zone"])) == ("box", "RUNNING", zone)
    assert sorted(stage.there("disks")) == ["box", "box-data"]
    row = stage.row()
    assert (row["state"], row["desired"], row["facts"]["disk_zone"]) == ("ready", "up", zone)
    assert not {"rebuild", "delete", "tried"} & {*row["config"], *row["facts"]}


def test_provision(stage: Stage) -> None:
    points = everywhere(stage, "nothing", PROVISION, lambda: is_up_once(stage), desired="up")
    assert (points.kills["before"] >= 12, points.kills["write"] >= 8, len(points.states) >= 10) == (True,) * 3


def test_provision_when_the_first_zone_says_late_that_it_is_full(stage: Stage) -> None:
    stage.restore("nothing")
    stage.simulator.world.exhausted = ["us-central1-a"]
    stage.keep("full")
    check = lambda: is_up_once(stage, "us-central1-b")  # noqa: E731
    points = everywhere(stage, "full", PROVISION, check, kinds=CHANGES, desired="up")
    assert points.kills["after"] >= 3


def test_stop(stage: Stage) -> None:
    def check() -> None:
        assert stage.there("instances")["box"]["status"] == "TERMINATED"
        row = stage.row()
        assert (row["state"], row["desired"]) == ("stopped", "down")

    points = everywhere(
        stage, "made", ("fleet", "stop", "box", "--yes"), check, kinds=CHANGES, desired="down"
    )
    assert len(points.states) >= 4


def test_rebuild(stage: Stage) -> None:
    stage.restore("made")
    machine, disk = stage.there("instances")["box"]["id"], stage.there("disks")["box-data"]["id"]

    def check() -> None:
        is_up_once(stage)
        assert stage.there("instances")["box"]["id"] != machine, "it is a new machine"
        assert stage.there("disks")["box-data"]["id"] == disk, "on the old data disk"

    points = everywhere(
        stage, "made", ("fleet", "rebuild", "box", "--yes"), check, kinds=CHANGES, desired="up"
    )
    assert (points.kills["after"] >= 2, len(points.states) >= 8) == (True, True)


def test_resize(stage: Stage) -> None:
    def check() -> None:
        is_up_once(stage)
        assert stage.there("instances")["box"]["machineType"].endswith("/n2-standard-16")
        assert stage.row()["config"]["spec"]["machine_type"] == "n2-standard-16"

    words = ("fleet", "resize", "box", "n2-standard-16", "--yes")
    points = everywhere(stage, "made", words, check, kinds=CHANGES, desired="up")
    assert (points.kills["after"] >= 3, len(points.states) >= 8) == (True, True)


def test_ctrl_c_in_a_resize_is_not_silent(stage: Stage) -> None:
    stage.restore("made")
    words = ("fleet", "resize", "box", "n2-standard-16", "--yes")
    stage.simulator.hold("ahead", 2)  # the first is the stop
    pid = stage.zygote.start(*words)
    assert stage.simulator.held.wait(60)
    os.kill(pid, signal.SIGINT)
    stage.simulator.released.set()
    ended = stage.zygote.wait()
    stage.simulator.when = ""
    assert ended.status == 130
    assert "Interrupted while changing box. box is stopped." in ended.err
    assert "offload fleet resize box n2-standard-16` continues" in ended.err
    assert "offload fleet start box` starts it" in ended.err
    stage.zygote.run(*words)
    is_up_once(stage)
    assert stage.there("instances")["box"]["machineType"].endswith("/n2-standard-16")


@pytest.mark.parametrize("with_disk", [False, True], ids=["keep", "disk"])
def test_delete(stage: Stage, with_disk: bool) -> None:
    def check() -> None:
        assert (stage.there("instances"), sorted(stage.there("disks"))) == (
            {},
            [] if with_disk else ["box-data"],
        )
        row = stage.row()
        assert (row["state"], row["desired"]) == ("absent", "gone")

    words = ("fleet", "delete", "box", "--yes", *(["--with-disk"] if with_disk else []))
    sweep = ("fleet", "sweep", "--yes")
    points = everywhere(stage, "made", words, check, desired="gone", also=sweep, kinds=CHANGES)
    assert points.kills["after"] >= (2 if with_disk else 1)
    assert (len(points.states) >= 4, points.also >= 3) == (True, True), (len(points.states), points.also)


@pytest.mark.parametrize(
    ("left", "maker"),
    [
        ("RUNNING", ELSEWHERE),
        *((left, maker) for left in ("TERMINATED", "disk") for maker in (ELSEWHERE, HOME)),
    ],
)
def test_taking_over(stage: Stage, left: str, maker: str) -> None:
    """What another home made, or this one before its database was lost: a machine, or a kept data disk."""
    made_again = left == "disk"

    def check() -> None:
        ((name, machine),) = stage.there("instances").items()
        disks = stage.there("disks")
        assert (name, machine["status"], sorted(disks)) == ("box", "RUNNING", ["box", "box-data"])
        assert disks["box-data"]["id"] == disk, "the old data disk"
        assert (machine["id"] != old) == made_again
        # What is taken over keeps its label; what is made carries that of the home that made it.
        homes = [one["labels"]["offload-home"] for one in (machine, disks["box-data"])]
        assert homes == [HOME if made_again else maker, maker]
        row = stage.row()
        assert (row["state"], row["desired"], row["facts"]["disk_zone"]) == (
            "booting",
            "up",
            "us-central1-b",
        )
        assert row["facts"].get("adopts", []) == ([] if maker == HOME else [maker])
        assert "tried" not in row["facts"]

    stage.restore("nothing")
    (stage.cli.home / "home-id").write_text(f"{maker}\n")
    with stage.at_google():
        stage.run(*TAKE[: TAKE.index("--zones")], "--zones", "us-central1-b", "--machine-only", "--yes")
        old, disk = stage.there("instances")["box"]["id"], stage.there("disks")["box-data"]["id"]
        if left != "RUNNING":
            stage.run("fleet", "stop", "box", "--yes")
        if left == "disk":
            stage.run("fleet", "delete", "box", "--yes")
        stage.restore_home("nothing")
        stage.keep("left")
        kinds = ("write",) if left == "RUNNING" else CHANGES
        points = everywhere(stage, "left", TAKE, check, desired="up", kinds=kinds)
        assert "Nothing to sweep" in stage.run("fleet", "sweep").out
    assert len(points.states) >= (3 if left == "RUNNING" else 5)


@pytest.mark.parametrize("configured", [False, True], ids=["its-own-account", "an-account-by-name"])
def test_doctor_mends(stage: Stage, tmp_path: Path, configured: bool) -> None:
    """`configured`: the machines' service account is named before there is one."""
    worker, me = f"offload-worker@{PROJECT}.iam.gserviceaccount.com", f"user:{ACCOUNT}"
    reader, tunnel = "roles/artifactregistry.reader", "roles/iap.tunnelResourceAccessor"
    theirs = [(reader, "user:boss@example.com", "x"), (tunnel, "user:boss@example.com", ""),
              ("roles/viewer", "group:all@example.com", "")]  # fmt: skip
    ours = [(reader, f"serviceAccount:{worker}", ""), (tunnel, me, "")]

    def check() -> None:
        account = stage.simulator.world.account
        use = {"role": "roles/iam.serviceAccountUser", "members": [me]}
        assert account["accounts"] == {worker: {"bindings": [use]}}
        found = [
            (one["role"], member, (one.get("condition") or {}).get("title", ""))
            for one in account["bindings"]
            for member in one["members"]
        ]
        assert sorted(found) == sorted(theirs + ours), "each once, and those of others as they were"
        assert (account["off"], len(account["keys"])) == ([], 1)
        assert f'gcp_service_account = "{worker}"' in stage.files()["config.toml"]
        lines = json.loads(stage.run("doctor", "--gcp", "--json").out)["gcp"]["checks"]
        assert {one["severity"] for one in lines} == {"pass"}, lines

    stage.restore("nothing")
    image = f"us-central1-docker.pkg.dev/{PROJECT}/offload/i@sha256:{'a' * 64}"
    named = f'gcp_service_account = "{worker}"\n' if configured else ""
    (stage.cli.home / "config.toml").write_text(f'gcp_project = "{PROJECT}"\ngcp_image = "{image}"\n{named}')
    account = stage.simulator.world.account
    account.update(
        off=["compute.googleapis.com", "oslogin.googleapis.com"],
        lacks=["iap.tunnelInstances.accessViaIAP", "iam.serviceAccounts.actAs"],
        bindings=[
            {"role": role, "members": [member], **({"condition": {"title": title}} if title else {})}
            for role, member, title in theirs
        ],
        unknown=1,
    )
    stage.keep("bare")
    gcloud = StubGcloud(tmp_path / "bin")
    (tmp_path / ".ssh").mkdir()
    make_key(tmp_path / ".ssh" / "google_compute_engine")
    path = f"{gcloud.folder}{os.pathsep}{stage.cli.env['PATH']}"
    with stage.at_google(HOME=str(tmp_path), PATH=path, NO_GCE_CHECK="true"):
        repair = ("doctor", "--gcp", "--apply", "--yes")
        points = everywhere(
            stage, "bare", repair, check, kinds=("ahead", "after") if configured else ("after",)
        )
    assert (points.kills["after"] >= 12, len(points.states) >= 7) == (True, True)
