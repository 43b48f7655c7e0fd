"""What cannot be made at Google is said before anything is made: the thing, the remedy, the exit code."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.simulator import around, catalog
from jobs.simulator.server import Simulator
from tests.support.cli import ROOT, Cli, offload_cli
from tests.support.gcloud import StubGcloud

PROJECT, ZONE = "demo-project", "us-central1-a"
IMAGE = f"host.example/maintainer@sha256:{'a' * 64}"
pytestmark = pytest.mark.timeout(240)


@dataclass
class Site:
    """A command line with a simulated Google."""

    cli: Cli
    google: Simulator
    stub: StubGcloud


@pytest.fixture(autouse=True)
def whole(site: Site) -> None:
    """Each test finds an account that lacks nothing."""
    site.google.world.account.update(around.fresh(), projects={PROJECT: "ACTIVE"})
    site.google.world.limits.update(catalog.LIMITS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tmp = tmp_path_factory.mktemp("gcp")
    with offload_cli(tmp) as cli, Simulator() as google:
        stub = StubGcloud(tmp / "bin")
        (tmp / "user").mkdir()
        cli.env |= {"PATH": f"{stub.folder}{os.pathsep}{cli.env['PATH']}", "HOME": str(tmp / "user")}
        for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"):
            cli.env.pop(name, None)
        cli.env |= google.overrides
        google.world.account["projects"] = {PROJECT: "ACTIVE"}
        cli.run("fleet", "ls")  # two commands at once find the database made
        yield Site(cli, google, stub)


def rows(site: Site, query: str) -> list[Any]:
    """Return what the database answers."""
    with (
        contextlib.closing(sqlite3.connect(site.cli.home / "offload.sqlite3", timeout=20)) as database,
        database,
    ):
        return database.execute(query).fetchall()


def refused(site: Site, code: int, *cases: Sequence[str]) -> list[str]:
    """Try to make machines, two at a time; see that nothing came of it; return what was said."""
    before = set(site.google.world.resources) | {f"projects/{PROJECT}/global/networks/default"}
    site.google.requests.clear()

    def attempt(words: Sequence[str]) -> str:
        argv = ("fleet", "provision", "big", "--image", IMAGE, "--yes", *words)
        error = site.cli.json(*argv, code=code)["error"]
        return f"{error['message']} {error['hint']}"

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(attempt, cases))
    assert [one for one in site.google.requests if one[0] != "GET"] == [], "nothing was asked for"
    assert set(site.google.world.resources) <= before
    made = rows(site, "SELECT name FROM jobs_worker WHERE provider = 'gce-cos'")
    assert made == [], "there is no row of what was not made"
    return said


def test_words_that_name_nothing(site: Site) -> None:
    project, zone = refused(
        site, 4, ["--project", "not-mine"], ["--project", PROJECT, "--zones", f"{ZONE},us-central1-x"]
    )
    assert "projects/not-mine" in project
    assert "gcloud projects list" in project
    assert "There is no zone us-central1-x" in zone
    assert f"gcloud compute zones list --project {PROJECT}" in zone
    (kind,) = refused(site, 2, ["--project", PROJECT, "--machine-type", "n2-standard-7"])
    assert f"There is no n2-standard-7 in {ZONE}" in kind
    assert "gcloud compute machine-types list --zones" in kind


def test_names_that_are_taken(site: Site) -> None:
    others = {"us-central1-a": "big-data", "us-central1-b": "big"}
    for zone, disk in others.items():
        path = f"projects/{PROJECT}/zones/{zone}/disks/{disk}"
        site.google.world.add("disk", path, {"name": disk, "status": "READY", "sizeGb": "10"})
    said = refused(site, 2, *(["--project", PROJECT, "--zones", zone] for zone in others))
    for text, disk in zip(said, others.values(), strict=True):
        assert f"disk {disk}" in text
        assert "hoose another name" in text
    site.google.world.resources.clear()


def test_a_project_that_is_not_ready(site: Site) -> None:
    account, limits = site.google.world.account, site.google.world.limits
    account["off"] = ["compute.googleapis.com"]
    (said,) = refused(site, 4, ["--project", PROJECT])
    assert f"the API compute.googleapis.com is off in the project {PROJECT}" in said
    assert f"gcloud services enable compute.googleapis.com --project {PROJECT}" in said
    account["off"] = []
    limits.update({"N2_CPUS": 0.0, "CPUS_ALL_REGIONS": 4.0})
    (said,) = refused(site, 16, ["--project", PROJECT])
    assert "N2_CPUS in us-central1: 0 of 0 are used; 8 are needed." in said
    assert "CPUS_ALL_REGIONS in all regions: 0 of 4 are used; 8 are needed." in said
    assert f"https://console.cloud.google.com/iam-admin/quotas?project={PROJECT}" in said


def test_a_refusal_that_comes_late_leaves_a_row_that_says_so(site: Site) -> None:
    """What only the request itself can find out; and the corrected command is a new plan, no continuation."""
    site.google.fail("permission", "POST .*instances$")
    words = (
        "fleet",
        "provision",
        "late",
        "--project",
        PROJECT,
        "--image",
        IMAGE,
        "--network",
        "default",
        "--yes",
    )
    error = site.cli.json(*words, code=4)["error"]
    assert "roles/compute.instanceAdmin.v1" in error["hint"]
    ((state, detail),) = rows(site, "SELECT state, state_detail FROM jobs_worker WHERE name = 'late'")
    assert state == "absent"
    assert "'compute.instances.create'" in detail
    assert not [path for path in site.google.world.resources if "/instances/" in path or "/disks/" in path]
    error = site.cli.json(*words, "--machine-type", "n2-standard-7", code=2)["error"]
    assert "There is no n2-standard-7" in error["message"]
    rows(site, "DELETE FROM jobs_worker WHERE name = 'late'")


def test_doctor_names_the_same(site: Site) -> None:
    """Each of them is in `test_what_is_wrong_is_named_with_its_remedy`; here, that it comes out."""
    assert "No project was named" in site.cli.run("doctor", "--gcp", code=4).stdout
    checks = site.cli.json("doctor", "--gcp", "--project", "not-mine", code=4)["gcp"]["checks"]
    assert (checks[-1]["subject"], checks[-1]["command"]) == ("project", "gcloud projects list")


@pytest.fixture
def real(site: Site, tmp_path: Path) -> Iterator[Path]:
    """No simulator, no credentials; what would leave loopback is stopped, and in the file."""
    log = tmp_path / "left"
    env = dict(site.cli.env)
    for name in site.google.overrides:
        site.cli.env.pop(name)
    site.cli.env |= {"PYTHONPATH": str(ROOT / "tests" / "support" / "loopback"), "LOOPBACK_LOG": str(log)}
    product = Path("/sys/class/dmi/id/product_name")
    if product.exists() and product.read_text().startswith("Google"):
        site.cli.env["NO_GCE_CHECK"] = "true"  # such a machine does have a metadata server
    yield log
    site.cli.env.clear()
    site.cli.env.update(env)


def test_without_credentials_nobody_is_asked(site: Site, real: Path) -> None:
    started = time.monotonic()
    (said,) = refused(site, 4, ["--project", PROJECT])
    took = time.monotonic() - started
    assert "There are no credentials for Google Cloud on this machine" in said
    assert "gcloud auth application-default login" in said
    data = site.cli.json("doctor", "--gcp", "--project", PROJECT, code=4)["gcp"]
    left: list[dict[str, Any]] = [one for one in data["checks"] if one["severity"] != "pass"]
    assert [one["subject"] for one in left] == ["credentials"]
    assert "gcloud auth application-default login" in left[0]["remedy"]
    error = site.cli.json("offload", "setup", "--gcp", "--project", PROJECT, "--zone", ZONE, code=4)["error"]
    assert "no credentials" in error["message"]
    assert not real.exists(), f"this was tried:\n{real.read_text()}"
    assert not (site.cli.home / "config.toml").exists()
    assert took < 20, "it does not wait for a metadata server that is not there"
