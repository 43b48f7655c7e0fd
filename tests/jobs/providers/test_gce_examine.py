"""What `doctor --gcp` sees: each thing that can be missing is one line, with its remedy to copy."""

from __future__ import annotations

import os
import stat
import time
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import NotConfigured, UsageError
from jobs.providers.base import Problem, Severity
from jobs.providers.gce.compute import endpoints, places
from jobs.providers.gce.compute.template import Spec, read_settings
from jobs.providers.gce.identity import account, credentials, gcloud, login_key
from jobs.providers.gce.identity.account import Account
from jobs.providers.gce.onboarding import repair
from jobs.providers.gce.onboarding.examination import examine
from jobs.providers.gce.onboarding.observed import Seen, Wanted
from jobs.providers.gce.onboarding.preflight import preflight
from tests.support import agent
from tests.support.gce_server import PROJECT, ZONE, Simulator, endpoint
from tests.support.gcloud import ACCOUNT, StubGcloud
from tests.support.google_https import ROBOT, service_account, token_server

SUBJECTS = [
    "gcloud", "credentials", "project", "billing", "APIs", "roles", "identity", "connection", "ssh key",
    "OS Login", "zone", "machine type", "quota", "network",
]  # fmt: skip
WORKER = f"offload-worker@{PROJECT}.iam.gserviceaccount.com"
IMAGE = f"us-central1-docker.pkg.dev/{PROJECT}/offload/maintainer@sha256:{'a' * 64}"
ADD_ROLE = f"gcloud projects add-iam-policy-binding {PROJECT} --member user:{ACCOUNT} --role"


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubGcloud:
    """A machine of its own: HOME, and a PATH with gcloud first."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    made = StubGcloud(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    return made


@pytest.fixture
def simulator(stub: StubGcloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    monkeypatch.setattr(account, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(repair, "SETTLE_PAUSE", 0.02)
    with endpoint(Simulator()) as found:
        yield found


def wanted(key: str = "", image: str = "", source: str | None = "", **changes: Any) -> Wanted:
    spec = Spec(
        **{name: changes.pop(name) for name in ("machine_type", "spot", "service_account") if name in changes}
    )
    settings = read_settings({"project": PROJECT, "zone": ZONE, **changes})
    return Wanted(settings, spec, key, image, source)


async def at(what: Wanted) -> dict[str, Problem]:
    """Return the worst line of each subject."""
    order = [Severity.PASS, Severity.WARN, Severity.FAIL]
    seen: dict[str, Problem] = {}
    for one in (await examine(what)).problems:
        if one.subject not in seen or order.index(one.severity) > order.index(seen[one.subject].severity):
            seen[one.subject] = one
    return seen


async def yes(question: str) -> bool:
    return True


async def no(question: str) -> bool:
    return False


async def ready(simulator: Simulator) -> None:
    """Make and upload a key."""
    key = login_key.make()
    here = Account(PROJECT)
    await here.add_key(ACCOUNT, key.public)
    here.close()


async def test_everything_is_there(simulator: Simulator) -> None:
    await ready(simulator)
    seen = await examine(wanted())
    assert [one.subject for one in seen.problems] == SUBJECTS
    assert {one.severity for one in seen.problems} == {Severity.PASS}
    assert (seen.email, seen.username) == (ACCOUNT, "maintainer_example_com")


Change = Callable[[Simulator, StubGcloud], None]


def account_is(**values: Any) -> Change:
    return lambda simulator, stub: simulator.world.account.update(values)


def gcloud_is(**values: Any) -> Change:
    return lambda simulator, stub: stub.set(**values)


def limit(metric: str, value: float) -> Change:
    return lambda simulator, stub: simulator.world.limits.update({metric: value})


def no_gcloud(simulator: Simulator, stub: StubGcloud) -> None:
    (stub.folder / "gcloud").unlink()
    os.environ["PATH"] = str(stub.folder)  # the stub fixture restores it


LINK = f"gcloud billing projects link {PROJECT} --billing-account ACCOUNT"


@pytest.mark.parametrize(
    ("change", "what", "subject", "says", "remedy"),
    [
        (no_gcloud, {}, "gcloud", "not on the PATH", "https://cloud.google.com/sdk/docs/install"),
        (gcloud_is(account=""), {}, "gcloud", "logged in to no account", "gcloud auth login"),
        (gcloud_is(accounts=()), {}, "gcloud", "logged in to no account", "gcloud auth login"),
        (gcloud_is(broken="ERROR: (gcloud) Python is too old."), {}, "gcloud", "too old", "install it again"),
        (account_is(projects={"x": "ACTIVE"}), {}, "project", f"no project {PROJECT}", "projects list"),
        (
            account_is(projects={PROJECT: "DELETE_REQUESTED"}),
            {},
            "project",
            "about to be deleted",
            f"gcloud projects undelete {PROJECT}",
        ),
        (account_is(billing=""), {}, "billing", "No billing account is linked", LINK),
        (account_is(closed=True), {}, "billing", "is closed", LINK),
        (
            account_is(off=["compute.googleapis.com", "iap.googleapis.com"]),
            {},
            "APIs",
            "compute, iap",
            f"gcloud services enable compute.googleapis.com iap.googleapis.com --project {PROJECT}",
        ),
        (
            account_is(off=["serviceusage.googleapis.com"]),
            {},
            "APIs",
            "serviceusage",
            "gcloud services enable serviceusage.googleapis.com",
        ),
        (
            account_is(lacks=["iap.tunnelInstances.accessViaIAP"]),
            {},
            "roles",
            "To reach machines through IAP you lack iap.tunnelInstances.accessViaIAP",
            f"{ADD_ROLE} roles/iap.tunnelResourceAccessor",
        ),
        (
            account_is(lacks=["compute.instances.create", "compute.disks.create"]),
            {},
            "roles",
            "and 1 more",
            f"{ADD_ROLE} roles/compute.instanceAdmin.v1",
        ),
        (
            account_is(lacks=["compute.instances.osAdminLogin"]),
            {},
            "roles",
            "sudo",
            f"{ADD_ROLE} roles/compute.osAdminLogin",
        ),
        (
            account_is(lacks=["compute.networks.create"]),
            {},
            "roles",
            "make the network",
            f"{ADD_ROLE} roles/compute.networkAdmin",
        ),
        (
            account_is(lacks=["iam.serviceAccounts.actAs"], accounts={WORKER: {}}),
            {"service_account": WORKER},
            "identity",
            f"You may not give machines the identity {WORKER}",
            f"gcloud iam service-accounts add-iam-policy-binding {WORKER} --project {PROJECT} "
            f"--member user:{ACCOUNT} --role roles/iam.serviceAccountUser",
        ),
        (
            account_is(lacks=["iam.serviceAccounts.get", "iam.serviceAccounts.actAs"]),
            {"service_account": "x@another.iam.gserviceaccount.com"},
            "identity",
            "if there is one",
            "Ask an owner",
        ),
        (
            account_is(accounts={WORKER: {"disabled": True}}),
            {"service_account": WORKER},
            "identity",
            "is disabled",
            f"gcloud iam service-accounts enable {WORKER} --project {PROJECT}",
        ),
        (
            None,
            {"service_account": WORKER},
            "identity",
            f"There is no service account {WORKER}",
            f"gcloud iam service-accounts create offload-worker --project {PROJECT}",
        ),
        (
            None,
            {"service_account": f"other@{PROJECT}.iam.gserviceaccount.com"},
            "identity",
            "There is no service account other@",
            f"gcloud iam service-accounts list --project {PROJECT}",
        ),
        (None, {"service_account": "worker"}, "identity", "no email", "service-accounts list"),
        (None, {"strategy": "external"}, "connection", "no range", "setup --set gcp_source="),
        (None, {"key": "/none/key"}, "ssh key", "There is no ssh key /none/key", "ssh-keygen"),
        (
            account_is(keys={}),
            {},
            "OS Login",
            "does not know this key",
            "gcloud compute os-login ssh-keys add --key-file HOME/.ssh/google_compute_engine.pub --project",
        ),
        (
            None,
            {"zone": "us-central1-x"},
            "zone",
            "us-central1-x",
            f"gcloud compute zones list --project {PROJECT}",
        ),
        (
            None,
            {"machine_type": "n2-standard-7"},
            "machine type",
            f"There is no n2-standard-7 in {ZONE}",
            f"gcloud compute machine-types list --zones {ZONE} --project {PROJECT}",
        ),
        (
            limit("N2_CPUS", 0.0),
            {},
            "quota",
            "N2_CPUS in us-central1: 0 of 0 are used; 8 are needed.",
            f"https://console.cloud.google.com/iam-admin/quotas?project={PROJECT}",
        ),
        (limit("CPUS_ALL_REGIONS", 4.0), {}, "quota", "CPUS_ALL_REGIONS in all regions", "iam-admin/quotas"),
        (limit("SSD_TOTAL_GB", 100.0), {}, "quota", "220 are needed", "iam-admin/quotas"),
        (limit("IN_USE_ADDRESSES", 0.0), {}, "quota", "IN_USE_ADDRESSES", "iam-admin/quotas"),
        (limit("PREEMPTIBLE_CPUS", 4.0), {"spot": True}, "quota", "PREEMPTIBLE_CPUS", "iam-admin/quotas"),
        (
            None,
            {"network": "nowhere"},
            "network",
            "There is no network nowhere",
            f"gcloud compute networks list --project {PROJECT}",
        ),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_with_its_remedy(
    simulator: Simulator,
    stub: StubGcloud,
    monkeypatch: pytest.MonkeyPatch,
    change: Change | None,
    what: dict[str, Any],
    subject: str,
    says: str,
    remedy: str,
) -> None:
    await ready(simulator)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    if change is not None:
        change(simulator, stub)
    line = (await at(wanted(**what)))[subject]
    assert line.severity is Severity.FAIL
    assert says in line.detail
    assert remedy.replace("HOME", os.environ["HOME"]) in f"{line.remedy}\n{line.command}"
    assert not simulator.world.operations, "looking changes nothing"


@pytest.mark.parametrize(
    ("change", "subject", "says", "remedy"),
    [
        (
            account_is(off=["cloudbuild.googleapis.com"]),
            "APIs",
            "cloudbuild (to build it there)",
            "cloudbuild",
        ),
        (account_is(bare=True), "OS Login", "name no project", "set-quota-project demo-project"),
        (account_is(off=["cloudresourcemanager.googleapis.com"]), "roles", "cloudresourcemanager", "enable"),
        (limit("CPUS", 8.0), "quota", "CPUS in us-central1: 8 of 8 are used", "iam-admin/quotas"),
    ],
)
async def test_what_may_be_lived_with_is_a_warning(
    simulator: Simulator, stub: StubGcloud, change: Change, subject: str, says: str, remedy: str
) -> None:
    await ready(simulator)
    change(simulator, stub)
    if subject == "quota":
        simulator.world.add(
            "instance", f"projects/{PROJECT}/zones/{ZONE}/instances/x",
            {"machineType": "n2-standard-8", "status": "RUNNING"},
        )  # fmt: skip
    line = (await at(wanted()))[subject]
    assert (line.severity, says in line.detail) == (Severity.WARN, True), line
    assert remedy in f"{line.remedy}\n{line.command}"


async def test_each_way_to_machines_is_looked_at(simulator: Simulator, stub: StubGcloud) -> None:
    await ready(simulator)
    what = {"strategy": "internal,external,iap"}
    lines = [one for one in (await examine(wanted(**what))).problems if one.subject == "connection"]
    assert [one.detail.partition(":")[0] for one in lines] == what["strategy"].split(",")
    assert f"nic0.NAME.{ZONE}.c.{PROJECT}.internal" in lines[0].detail
    assert [one.severity.value for one in lines] == ["pass", "warn", "pass"]
    for source in ("192.0.2.0/24", None):
        seen = await examine(wanted(source=source, **what))
        assert {one.severity for one in seen.problems} == {Severity.PASS}
    no_gcloud(simulator, stub)
    seen = await examine(wanted(source=None, **what))
    worse = [one for one in seen.problems if one.severity is not Severity.PASS]
    assert [(one.subject, one.severity) for one in worse] == [
        ("gcloud", Severity.WARN), ("connection", Severity.WARN)
    ], "there are other ways"  # fmt: skip
    assert "iap: there is no gcloud" in worse[1].detail


async def test_a_project_that_pays_is_believed_where_billing_cannot_be_read(simulator: Simulator) -> None:
    simulator.world.account["off"] = ["cloudbilling.googleapis.com"]
    assert (await at(wanted()))["billing"].severity is Severity.PASS
    simulator.world.account["billing"] = ""
    assert (await at(wanted()))["billing"].severity is Severity.FAIL


async def test_the_key_that_ends_is_renewed(simulator: Simulator) -> None:
    await ready(simulator)
    (entry,) = simulator.world.account["keys"].values()
    for end, severity in ((-5.0, Severity.FAIL), (86400.0, Severity.WARN)):
        entry["expirationTimeUsec"] = str(int((time.time() + end) * 1e6))
        seen = await examine(wanted())
        (line,) = [one for one in seen.problems if one.subject == "OS Login"]
        assert (line.severity, "ssh-keys update" in line.command) == (severity, True)
        assert await repair.apply_repairs(wanted(), seen, print, no)
        assert "expirationTimeUsec" not in entry
    assert (await at(wanted()))["OS Login"].severity is Severity.PASS


async def test_mending_from_nothing(simulator: Simulator, stub: StubGcloud) -> None:
    """APIs off (and slow to be known), no key, a role missing: one round repairs all of it."""
    simulator.world.seconds = 0.1
    simulator.world.account.update(
        off=["compute.googleapis.com", "oslogin.googleapis.com", "cloudbuild.googleapis.com"], lag=3,
        lacks=["iap.tunnelInstances.accessViaIAP"],
        bindings=[{"role": "roles/owner", "members": ["user:boss@example.com"]}],
    )  # fmt: skip
    said: list[str] = []
    seen = await examine(wanted())
    assert {one.repair for one in seen.problems if one.repair} == {"apis", "roles", "ssh-key"}
    assert await repair.apply_repairs(wanted(), seen, said.append, no)
    assert (await at(wanted()))["roles"].severity is Severity.FAIL, "nothing is granted without a yes"
    assert simulator.world.account["bindings"][1:] == []
    assert await repair.apply_repairs(wanted(), await examine(wanted()), said.append, yes)
    assert {one.severity for one in (await examine(wanted())).problems} == {Severity.PASS}
    assert simulator.world.account["bindings"] == [
        {"role": "roles/owner", "members": ["user:boss@example.com"]},
        {"role": "roles/iap.tunnelResourceAccessor", "members": [f"user:{ACCOUNT}"]},
    ]
    key = Path(os.environ["HOME"], ".ssh", "google_compute_engine")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "Waiting until Google knows it everywhere ..." in said
    before = key.read_bytes()
    await repair.apply_repairs(wanted(), replace_repairs(await examine(wanted())), said.append, yes)
    assert key.read_bytes() == before, "a key that is there is never overwritten"


def replace_repairs(seen: Seen) -> Seen:
    """Pretend that everything is to be repaired again."""
    names = ("apis", "ssh-key", "login-key")
    return replace(seen, problems=[Problem(Severity.FAIL, "x", "x", repair=name) for name in names])


async def test_what_cannot_be_mended_is_said(simulator: Simulator) -> None:
    """APIs do not come on without billing; another user changes the policy in between."""
    said: list[str] = []
    simulator.world.account.update(off=["compute.googleapis.com"], billing="")
    seen = await examine(wanted())
    await repair.apply_repairs(wanted(), seen, said.append, yes)
    (refusal,) = [one for one in said if "Billing account for project" in one]
    assert "https://console.cloud.google.com/billing/linkedaccount" in refusal
    assert "compute.googleapis.com" in simulator.world.account["off"]


async def test_the_api_that_turns_on_apis_is_turned_on_by_gcloud(
    simulator: Simulator, stub: StubGcloud
) -> None:
    simulator.world.account["off"] = ["serviceusage.googleapis.com"]
    stub.set(does={"services enable serviceusage.googleapis.com": ""})
    said: list[str] = []
    await repair.apply_repairs(wanted(), await examine(wanted()), said.append, yes)
    (asked,) = [one for one in stub.asked() if one.startswith("services enable")]
    assert asked.startswith("services enable serviceusage.googleapis.com compute.googleapis.com")
    assert asked.endswith(f"--project={PROJECT}")


async def test_troubles_that_pass_are_not_seen(simulator: Simulator) -> None:
    await ready(simulator)
    for service in ("serviceusage", "cloudresourcemanager", "oslogin"):
        simulator.fail("unavailable", f" /?{service}", times=2)
        simulator.fail("lost-answer", f" /?{service}")
    assert {one.severity for one in (await examine(wanted())).problems} == {Severity.PASS}


async def test_an_emulator_of_compute_alone_is_not_mixed_with_the_real_services(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in endpoints.ADDRESSES:
        monkeypatch.delenv(endpoints.variable(service))
    seen = await at(wanted())
    assert "emulator" in seen["APIs"].detail
    assert "emulator" in seen["OS Login"].detail
    assert seen["zone"].severity is Severity.PASS


@pytest.mark.parametrize("value", ["http://serviceusage.example.org", "nonsense"])
def test_an_endpoint_in_the_clear_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE", value)
    with pytest.raises(NotConfigured, match="CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE"):
        endpoints.address("serviceusage")


async def test_credentials_that_google_does_not_take(
    stub: StubGcloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with token_server() as tokens:
        tokens.refuse()
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, tokens)))
        seen = await examine(wanted())
    assert [one.subject for one in seen.problems] == ["gcloud", "credentials"]
    line = seen.problems[-1]
    assert "invalid_grant" in line.detail
    assert "gcloud auth application-default login" in line.remedy
    assert "PRIVATE KEY" not in str(seen.problems)
    found = credentials.found()
    assert (found.kind, found.email) == ("a service account", ROBOT)


async def test_nothing_of_the_credentials_goes_to_an_endpoint_on_this_machine(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with token_server() as tokens:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, tokens)))
        await examine(wanted())
        assert tokens.asked == 0


@pytest.mark.parametrize("text", ["", "{}", '{"type": "authorized_user"}', "not json"])
async def test_credentials_that_cannot_be_read(
    stub: StubGcloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file = tmp_path / "adc.json"
    file.write_text(text)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    (line,) = [one for one in (await examine(wanted())).problems if one.subject == "credentials"]
    assert line.severity is Severity.FAIL
    assert str(file) in line.detail


async def test_a_newcomer_without_gcloud_is_told_to_install_it_first(
    stub: StubGcloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stub.folder / "gcloud").unlink()
    monkeypatch.setenv("PATH", str(stub.folder))
    first, second = (await examine(wanted())).problems
    assert (first.subject, second.subject) == ("gcloud", "credentials")
    assert "Install gcloud (https://cloud.google.com/sdk/docs/install). Log in: " in second.remedy


async def test_gcloud_that_does_not_answer(stub: StubGcloud, monkeypatch: pytest.MonkeyPatch) -> None:
    (stub.folder / "gcloud").write_text("#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setattr(gcloud, "SECONDS", 0.2)
    found = await gcloud.look()
    assert found is not None
    assert "did not end" in found.error


async def test_what_stands_against_a_machine_is_said_before_it_is_asked_for(simulator: Simulator) -> None:
    """The rest of it, by the command line: tests/jobs/cli/test_gcp_bad_input.py."""
    disks = f"projects/{PROJECT}/zones/{ZONE}/disks"
    plan: dict[str, Any] = {"project": PROJECT, "zones": [ZONE], "spec": {}}
    with pytest.raises(NotConfigured, match="There is no network nowhere") as refused:
        await preflight("big", {**plan, "network": "nowhere"}, print)
    assert "gcloud compute networks list" in refused.value.hint
    ours = {"name": "big-data", "status": "READY", "labels": {"offload-schema": "1"}}
    disk = simulator.world.add("disk", f"{disks}/big-data", {**ours, "users": ["zones/x/instances/other"]})
    with pytest.raises(UsageError, match="attached to other"):
        await preflight("big", plan, print)
    disk["users"] = []
    assert (await preflight("big", plan, print)).zones == [ZONE], "our own disk is taken up again"
    with pytest.raises(UsageError, match="at least 10 GiB"):
        await preflight("big", {**plan, "spec": {"data_disk_gb": 1}}, print)
    simulator.world.account["billing"] = ""
    with pytest.raises(NotConfigured, match="requires billing") as refused:
        await preflight("big", plan, print)
    assert f"https://console.cloud.google.com/billing/linkedaccount?project={PROJECT}" in refused.value.hint
    simulator.world.account["billing"] = "billingAccounts/1"


async def test_a_key_with_a_passphrase_needs_an_agent(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    await ready(simulator)
    key = agent.lock(Path(os.environ["HOME"], ".ssh", "google_compute_engine"))
    line = (await at(wanted()))["ssh key"]
    assert (line.severity, "has a passphrase" in line.detail) == (Severity.FAIL, True)
    assert line.command == f'eval "$(ssh-agent)"; ssh-add {key}'
    with agent.ssh_agent(tmp_path) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        assert (await at(wanted()))["ssh key"].command == f"ssh-add {key}"
        agent.add(key, socket)
        assert (await at(wanted()))["ssh key"].severity is Severity.PASS


MINE = {"offload-schema": "1", "offload-owner": "me", "offload-home": "one0home0one"}


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({}, "that Offload did not make"),
        ({**MINE, "offload-owner": "ann"}, "that a machine of ann left"),
        ({**MINE, "offload-home": "two0home0two"}, "that a machine of another Offload home of yours left"),
        (MINE, "that a machine of this Offload home of yours left"),
    ],
)
async def test_a_boot_disk_that_is_left_is_nobodys_to_take(
    simulator: Simulator, labels: dict[str, str], says: str
) -> None:
    plan = {
        "project": PROJECT, "zones": [ZONE], "network": "default", "owner": "Me",
        "home_id": MINE["offload-home"],
    }  # fmt: skip
    path = f"projects/{PROJECT}/zones/{ZONE}/disks/big"
    simulator.world.add("disk", path, {"name": "big", "status": "READY", "labels": labels})
    with pytest.raises(UsageError, match=f"there is a disk big already, {says}, and") as refused:
        await preflight("big", plan, print)
    assert f"gcloud compute disks delete big --zone {ZONE} --project {PROJECT}" in refused.value.hint


def test_the_near_region_is_told_by_the_time_zone(tmp_path: Path) -> None:
    rows = ["# a comment", "ES\t+4024-00341\tEurope/Madrid", "BR\t-2332-04637\tAmerica/Sao_Paulo\tBrazil",
            "AU\t-335200+1511300\tAustralia/Sydney"]  # fmt: skip
    (tmp_path / "zone.tab").write_text("\n".join(rows))
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    try:
        for time_zone, region in (
            ("Europe/Madrid", "europe-southwest1"),
            ("America/Sao_Paulo", "southamerica-east1"),
            ("Australia/Sydney", "australia-southeast1"),
        ):
            here = places.position(time_zone)
            assert here is not None
            assert places.by_distance([*places.REGIONS, "new-region1"], here)[0] == region
        assert places.position("Mars/Olympus") is None
    finally:
        zoneinfo.reset_tzpath()
    assert places.by_distance(["new-region1", "asia-east1"])[0] == "asia-east1"
