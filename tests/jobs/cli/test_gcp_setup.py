"""`doctor --gcp` and `offload setup --gcp`: the real command line, a simulated Google, a stub gcloud."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.simulator.server import Simulator
from tests.support.cli import MANAGE, Cli
from tests.support.gcloud import ACCOUNT, StubGcloud
from tests.support.google_https import ROBOT, TOKEN, google_https, service_account, token_server

PROJECT = "demo-project"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def stub(cli: Cli, tmp_path: Path) -> StubGcloud:
    made = StubGcloud(tmp_path / "bin")
    (tmp_path / "user").mkdir()
    cli.env |= {"PATH": f"{made.folder}{os.pathsep}{cli.env['PATH']}", "HOME": str(tmp_path / "user")}
    cli.env |= {"NO_GCE_CHECK": "true"}
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"):
        cli.env.pop(name, None)
    return made


@pytest.fixture
def google(cli: Cli, stub: StubGcloud) -> Iterator[Simulator]:
    """A Google that has two projects, and everything off in them."""
    with Simulator(seconds=0.1) as simulator:
        simulator.world.account.update(
            projects={PROJECT: "ACTIVE", "another": "ACTIVE", "old": "DELETE_REQUESTED", "third": "ACTIVE"},
            off=["compute.googleapis.com", "oslogin.googleapis.com"],
        )
        cli.env |= simulator.overrides
        yield simulator


def test_doctor_names_and_mends(cli: Cli, google: Simulator, stub: StubGcloud, tmp_path: Path) -> None:
    google.world.account["lacks"] = ["iap.tunnelInstances.accessViaIAP"]
    stub.set(project=PROJECT)
    found = cli.run("doctor", "--gcp", code=4)
    lines = found.stdout.splitlines()
    at = lines.index("FAIL  APIs         Off, and needed: compute, oslogin.")
    assert lines[at + 1] == (
        "      gcloud services enable compute.googleapis.com oslogin.googleapis.com --project demo-project"
    )
    assert "WARN  zone, quota  Not looked at" in found.stdout
    assert (
        f"      {sys.executable} {MANAGE} offload doctor --gcp --project {PROJECT} --apply"
        in found.stderr.splitlines()
    )
    data = cli.json("doctor", "--gcp", "--apply", code=4)["gcp"]
    left = {one["subject"]: one for one in data["checks"] if one["severity"] != "pass"}
    assert set(left) == {"roles"}, "what grants something needs a yes"
    assert left["roles"]["command"].endswith("--role roles/iap.tunnelResourceAccessor")
    data = cli.json("doctor", "--gcp", "--apply", "--yes")["gcp"]
    assert (data["project"], data["account"], data["user"]) == (PROJECT, ACCOUNT, "maintainer_example_com")
    assert Path(data["key"]) == tmp_path / "user" / ".ssh" / "google_compute_engine"
    assert {one["severity"] for one in data["checks"]} == {"pass"}
    assert {line.partition(" ")[0] for line in stub.asked()} <= {"config", "auth"}


def test_the_service_account_that_was_made_is_configured(
    cli: Cli, google: Simulator, stub: StubGcloud
) -> None:
    google.world.account["off"] = []
    image = f"us-central1-docker.pkg.dev/{PROJECT}/offload/maintainer@sha256:{'a' * 64}"
    cli.run("offload", "setup", "--set", f"gcp_image={image}", "--set", f"gcp_project={PROJECT}")
    data = cli.json("doctor", "--gcp", "--apply", "--yes")["gcp"]
    email = f"offload-worker@{PROJECT}.iam.gserviceaccount.com"
    assert data["service_account"] == email
    assert {one["severity"] for one in data["checks"]} == {"pass"}
    assert tomllib.loads((cli.home / "config.toml").read_text())["gcp_service_account"] == email
    assert cli.json("doctor", "--gcp")["gcp"]["service_account"] == email


def test_the_wizard_goes_from_nothing_to_a_configuration(
    cli: Cli, google: Simulator, stub: StubGcloud
) -> None:
    with cli.terminal("offload", "setup", "--gcp", rows=50, columns=80) as terminal:
        terminal.expect("Number or name: ")
        screen = terminal.seen.decode()
        assert ACCOUNT in screen
        assert "third" in screen, "all pages of the list"
        assert "old" not in screen
        terminal.type(b"9\n")
        terminal.expect("There is no number 9.")
        terminal.type(b"2\n")
        terminal.expect("Number or name [n2-standard-8]")
        terminal.type(b"\n")
        terminal.expect("Number or name [iap]")
        terminal.type(b"\n")
        terminal.expect("free of charge)? [y/N] ")
        assert "compute.googleapis.com" in google.world.account["off"]
        terminal.type(b"y\n")
        terminal.expect("Zone (these have n2-standard-8)")
        terminal.expect("Number or name [")
        terminal.type(b"europe-west1-d\n")
        terminal.expect("Number or name [offload]")
        terminal.type(b"default\n")
        terminal.expect("Repair what can be repaired now? [y/N] ")
        terminal.type(b"y\n")
        terminal.expect("offload fleet provision big --image")
        assert terminal.wait() == 0, terminal.seen.decode()
        assert terminal.is_restored()
        checks = strip(terminal.seen.decode().replace("\r", "").partition("Google Cloud, project")[2])
        assert max(len(line) for line in checks.splitlines() if "/" not in line) <= 80
    saved = tomllib.loads((cli.home / "config.toml").read_text())
    assert saved["gcp_project"] == PROJECT
    assert saved["gcp_zones"][0] == "europe-west1-d"
    assert (saved["gcp_network"], saved["gcp_strategy"]) == ("default", "iap")
    assert saved["gcp_user"] == "maintainer_example_com"
    assert Path(saved["gcp_key"]).exists()


def strip(text: str) -> str:
    """Return what is seen of a text with colours."""
    return "".join(part.partition("m")[2] if at else part for at, part in enumerate(text.split("\x1b[")))


def test_without_anybody_to_ask_each_answer_is_a_flag(cli: Cli, google: Simulator, stub: StubGcloud) -> None:
    setup = ("offload", "setup", "--gcp", "--no-input")
    assert "--project is missing" in cli.run(*setup, code=2).stderr
    assert "--zone is missing" in cli.run(*setup, "--project", PROJECT, code=2).stderr
    external = ("--project", PROJECT, "--strategy", "external")
    assert "--source is missing" in cli.run(*setup, *external, code=2).stderr
    assert not (cli.home / "config.toml").exists()
    image = f"host.example/maintainer@sha256:{'a' * 64}"
    flags = ("--zone", "europe-west1-b", "--image", image, "--apply", "--yes")
    data = cli.json(*setup, "--project", PROJECT, *flags)["gcp"]
    assert {one["severity"] for one in data["checks"]} == {"pass"}
    assert "gcp_key" in data["set"]
    # And `fleet provision` takes its defaults from there.
    google.world.limits["N2_CPUS"] = 0.0
    error = cli.json("fleet", "provision", "big", "--yes", code=16)["error"]
    assert "N2_CPUS in europe-west1" in error["message"]
    assert f"project={PROJECT}" in error["hint"]


def test_words_that_make_no_sense(cli: Cli, stub: StubGcloud) -> None:
    assert "only with --gcp" in cli.run("doctor", "--project", "x", code=2).stderr
    assert "--gcp checks no worker" in cli.run("doctor", "local", "--gcp", code=2).stderr
    assert "cannot be combined" in cli.run("offload", "setup", "--gcp", "--set", "port=1", code=2).stderr


def test_a_token_is_used_and_never_shown(
    cli: Cli, google: Simulator, stub: StubGcloud, tmp_path: Path
) -> None:
    """The credentials' own path, by TLS: what is sent to Google is printed and written nowhere."""
    google.world.account.update(off=[], email=ROBOT)
    with token_server() as tokens, google_https(google, tmp_path) as (variables, seen):
        key = service_account(tmp_path, tokens)
        cli.env |= {**variables, "GOOGLE_APPLICATION_CREDENTIALS": str(key)}
        done = cli.run("doctor", "--gcp", "--project", PROJECT, "--apply", "--yes")
        secrets = {one.removeprefix("Bearer ") for one in seen}
        assert TOKEN in secrets, "and Compute Engine's own, signed here"
        assert all(secrets), "nothing is asked without"
        lines = [line.split("  ")[0] for line in done.stdout.splitlines()]
        assert {line for line in lines if line} == {"PASS", "WARN"}
        assert f"WARN  credentials   They are those of {ROBOT}, and gcloud" in done.stdout
        tokens.refuse()
        refused = cli.run("doctor", "--gcp", "--project", PROJECT, code=4)
        assert "FAIL  credentials  Google does not take the credentials any more" in refused.stdout
    said = done.stdout + done.stderr + refused.stdout + refused.stderr
    files = [path for root in (cli.home, tmp_path / "user") for path in root.rglob("*") if path.is_file()]
    written = {path: path.read_bytes() for path in files if path.name != "google_compute_engine"}
    for secret in {*secrets, "PRIVATE KEY"}:
        assert secret not in said
        assert [path for path, text in written.items() if secret.encode() in text] == []
