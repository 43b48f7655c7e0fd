"""Each way in which Google says no is named, with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import (
    ConnectFailed,
    NoCapacity,
    NotConfigured,
    OffloadError,
    QuotaExceeded,
    UsageError,
    WorkerUnavailable,
)
from jobs.providers.base import InstanceState, Severity
from jobs.providers.gce.compute import api, retry
from jobs.providers.gce.compute.errors import NotReady, PolicyViolated, ended_badly, refused
from jobs.providers.gce.compute.rest import Rest
from tests.support.gce_server import NEVER, PROJECT, ZONE, Simulator, config, endpoint, provider


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with endpoint(Simulator(seconds=NEVER)) as found:
        yield found


@pytest.mark.parametrize(
    ("fault", "error", "remedy"),
    [
        ("permission", NotConfigured, "roles/compute.instanceAdmin.v1"),
        ("disabled", NotConfigured, "gcloud services enable compute.googleapis.com"),
        ("billing", NotConfigured, "billing"),
        ("quota", QuotaExceeded, f"quotas?project={PROJECT}"),
        ("unauthenticated", NotConfigured, "gcloud auth application-default login"),
        (
            "policy",
            PolicyViolated,
            "policy constraints/compute.vmExternalIpAccess forbids it",
        ),
    ],
)
async def test_refusals(simulator: Simulator, fault: str, error: type[OffloadError], remedy: str) -> None:
    simulator.fail(fault, "POST .*instances$")
    with pytest.raises(error) as caught:
        await provider().create({}, "worker")
    assert remedy in caught.value.hint
    assert "Making the machine worker in us-central1-a failed" in caught.value.message
    assert await provider().get("worker") is None
    await provider().create({}, "worker")  # and once it is fixed, the same call works
    assert await provider().get("worker")


@pytest.mark.parametrize("fault", ["detail", "message", "oauth"])
async def test_refusals_of_any_form_keep_their_words(simulator: Simulator, fault: str) -> None:
    said = f"{'access_denied: ' if fault == 'oauth' else ''}Not from this network."
    simulator.fail(fault, "", times=2)
    with pytest.raises(NotConfigured) as caught:
        await provider().create({}, "worker")
    assert caught.value.message == f"Looking for the machine worker failed: {said}"
    rest = Rest(PROJECT)
    with pytest.raises(NotConfigured) as caught:
        await rest.call("serviceusage", "GET", f"v1/projects/{PROJECT}/services", "Asking")
    rest.close()
    assert caught.value.message == f"Asking failed: {said}"


@pytest.mark.parametrize("fault", ["rate", "unavailable", "broken", "lost-request", "lost-answer", "twice"])
async def test_troubles_that_pass_are_not_seen(simulator: Simulator, fault: str) -> None:
    simulator.fail(fault, "POST .*instances$", times=2)
    await provider().create({}, "worker")
    simulator.settle()
    instance = await provider().get("worker")
    assert instance
    assert instance.state is InstanceState.RUNNING
    ids = {one[2] for one in simulator.requests if one[0] == "POST"}
    assert len(ids) == 1
    inserts = [one for one in simulator.world.operations.values() if one["operationType"] == "insert"]
    assert len(inserts) == 1


@pytest.mark.parametrize(("fault", "error"), [("rate", WorkerUnavailable), ("lost-request", ConnectFailed)])
async def test_troubles_that_stay(simulator: Simulator, fault: str, error: type[OffloadError]) -> None:
    simulator.fail(fault, "", times=100)
    with pytest.raises(error) as caught:
        await provider().stop("worker")
    assert caught.value.retryable
    assert caught.value.hint
    assert len(simulator.requests) == retry.ATTEMPTS


async def test_no_capacity_comes_late_and_names_the_zone(simulator: Simulator) -> None:
    simulator.world.exhausted = [ZONE]
    await provider().create({}, "worker")
    assert await provider().failure("worker") is None
    simulator.settle()
    assert await provider().get("worker") is None
    error = await provider().failure("worker")
    assert isinstance(error, NoCapacity)
    assert ZONE in error.message
    assert await provider().disk("worker") is None
    elsewhere = provider(zone="us-central1-b")
    await elsewhere.create({}, "worker")
    simulator.world.exhausted = []
    await provider().create({}, "worker")  # the id of a request that failed is not used again
    simulator.settle()
    assert await provider().failure("worker") is None
    assert {one.data["zone"] for one in await provider().list()} == {ZONE, "us-central1-b"}


async def test_start_without_capacity(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    simulator.settle()
    await provider().stop("worker")
    simulator.settle()
    simulator.fail("capacity", "start$")
    await provider().start("worker")
    simulator.settle()
    instance = await provider().get("worker")
    assert instance
    assert instance.state is InstanceState.STOPPED
    assert isinstance(await provider().failure("worker"), NoCapacity)
    await provider().start("worker")
    simulator.settle()
    assert await provider().failure("worker") is None


async def test_answer_that_cannot_be_read(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    simulator.fail("page", "GET .*instances")
    with pytest.raises(WorkerUnavailable, match="not one of the Compute API"):
        await provider().get("worker")
    simulator.fail("page", "GET .*instances$", times=10)
    with pytest.raises(WorkerUnavailable, match="not one of the Compute API"):
        await provider().list()


async def test_quota_of_the_region(simulator: Simulator) -> None:
    simulator.world.limits["N2_CPUS"] = 0.0
    with pytest.raises(QuotaExceeded, match="N2_CPUS"):
        await provider().create({}, "worker")
    problems = await provider(strategy="external").check()
    assert [one.detail for one in problems if one.severity is Severity.FAIL] == [
        "N2_CPUS in us-central1: 0 of 0 are used; 8 are needed."
    ]


@pytest.mark.parametrize(
    ("changes", "spec", "error", "text"),
    [
        ({"zone": "us-central1-x"}, {}, NotConfigured, "gcloud compute zones list"),
        ({"project": "not-mine"}, {}, NotConfigured, "gcloud projects list"),
        ({}, {"machine_type": "n2-standard-7"}, UsageError, "machine-types list"),
        ({}, {"machine_type": "c4-standard-8", "data_disk_type": "pd-ssd"}, UsageError, "hyperdisk-balanced"),
        ({}, {"data_disk_gb": 1}, UsageError, "at least 10 GiB"),
        ({}, {"max_run_seconds": 5}, UsageError, "between 30 seconds"),
        ({"network": "nowhere"}, {}, OffloadError, "networks/nowhere"),
    ],
)
async def test_bad_input(
    simulator: Simulator, changes: dict[str, str], spec: dict[str, object], error: type, text: str
) -> None:
    simulator.projects = (PROJECT,)
    with pytest.raises(error) as caught:
        await provider(**changes).create(spec, "worker")
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["Worker", "1st", "a" * 60, "a_b", "end-"])
async def test_bad_names(simulator: Simulator, name: str) -> None:
    with pytest.raises(UsageError):
        await provider().create({}, name)
    assert not simulator.requests


async def test_names_taken_by_others(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    simulator.settle()
    for path in (
        f"projects/{PROJECT}/zones/{ZONE}/{what}" for what in ("instances/worker", "disks/worker-data")
    ):
        simulator.world.resources[path]["labels"] = {}
    for asked in (provider().create({}, "worker"), provider().delete("worker")):
        with pytest.raises(UsageError, match="Offload did not make"):
            await asked
    with pytest.raises(UsageError, match="worker-data"):
        await provider().delete_disk("worker")


async def test_machines_of_another_owner_or_of_nobody_are_left_as_they_are(simulator: Simulator) -> None:
    await provider(owner="a-colleague").create({}, "worker")
    simulator.settle()
    mine = provider(owner="me")
    machine = simulator.world.resources[f"projects/{PROJECT}/zones/{ZONE}/instances/worker"]
    for text in ("made for a-colleague", "did not make"):
        for ask in (mine.stop, mine.delete, mine.delete_disk, lambda name: mine.create({}, name)):
            with pytest.raises(UsageError, match=text):
                await ask("worker")
        machine["labels"] = {}
        simulator.world.resources[f"projects/{PROJECT}/zones/{ZONE}/disks/worker-data"]["labels"] = {}
    assert machine["status"] == "RUNNING"


@pytest.mark.parametrize("missing", ["project", "zone"])
def test_configuration_without(missing: str) -> None:
    with pytest.raises(NotConfigured, match=missing):
        provider(**{missing: ""})


@pytest.mark.parametrize("value", ["http://compute.example.org", "nonsense"])
def test_endpoint_in_the_clear_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(api.ENDPOINT_VARIABLE, value)
    with pytest.raises(NotConfigured, match=api.ENDPOINT_VARIABLE):
        provider()


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(api.ENDPOINT_VARIABLE, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(NotConfigured, match="credentials") as caught:
        await provider().get("worker")
    assert "gcloud auth application-default login" in caught.value.hint


async def test_what_google_answered_to_credentials_is_not_repeated(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth import exceptions

    def ask(_: object) -> None:
        raise exceptions.RefreshError("invalid_grant: Bad Request", {"id_token": "secret"})

    monkeypatch.setattr(api, "_ask", ask)
    with pytest.raises(NotConfigured, match=r"not taken \(invalid_grant: Bad Request\)") as caught:
        await provider().get("worker")
    assert "secret" not in str(caught.value)
    assert "gcloud auth application-default login" in caught.value.hint


async def test_disk_that_is_in_use_is_not_deleted(simulator: Simulator) -> None:
    await provider().create({}, "worker")
    simulator.settle()
    with pytest.raises(NotReady):
        await provider().delete_disk("worker")
    await provider().delete("worker")
    simulator.settle()
    assert await provider().disk("worker")
    await provider().delete_disk("worker")
    simulator.settle()
    assert await provider().disk("worker") is None
    await provider().delete_disk("worker")


def test_configuration_is_complete() -> None:
    with pytest.raises(NotConfigured, match="strategy"):
        provider(**config(strategy="pigeon"))


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "no", NoCapacity),
        ("REGION_RESOURCE_POOL_EXHAUSTED", "no", NoCapacity),
        ("ZONE_RESOURCE_STOCKOUT", "no", NoCapacity),
        ("", "The zone 'z' does not have enough resources available to fulfill the request.", NoCapacity),
        ("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded.  Limit: 8.0 in region r.", QuotaExceeded),
        ("RESOURCE_OPERATION_RATE_EXCEEDED", "Too frequent operations.", WorkerUnavailable),
        ("CONCURRENT_OPERATIONS_QUOTA_EXCEEDED", "Too many.", WorkerUnavailable),
        (
            "CONDITION_NOT_MET",
            "Constraint constraints/compute.trustedImageProjects violated.",
            PolicyViolated,
        ),
        ("", 'Operation denied by custom org policies: ["customConstraints/custom.small"].', PolicyViolated),
    ],
)
def test_what_an_operation_ended_in(code: str, message: str, kind: type[OffloadError]) -> None:
    assert type(ended_badly("Making x", "p", "z", code, message)) is kind


def test_a_policy_is_final_and_named_with_who_can_change_it() -> None:
    for message, constraint in (
        (
            "Constraint constraints/compute.requireShieldedVm violated.",
            "constraints/compute.requireShieldedVm",
        ),
        ("Denied by org policy: customConstraints/custom.onlyN2", "customConstraints/custom.onlyN2"),
        ("Condition not met.", ""),
    ):
        error = refused("Making x", "p", 412, "conditionNotMet", message)
        assert isinstance(error, PolicyViolated)
        assert (error.retryable, error.constraint) == (False, constraint)
        assert "roles/orgpolicy.policyAdmin" in error.hint
    fingerprint = refused("Making x", "p", 412, "conditionNotMet", "Supplied fingerprint does not match.")
    assert fingerprint.retryable


def test_loopback_by_any_of_its_names_needs_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("127.0.0.2:1", "gcp.localhost:1", "0.0.0.0:1", "[::1]:1"):
        for path in ("", "/", "/compute/v1", "/compute/v1/", "/compute/v1/projects/"):
            monkeypatch.setenv(api.ENDPOINT_VARIABLE, f"http://{host}{path}")
            assert api.endpoint_override() == f"http://{host}"
