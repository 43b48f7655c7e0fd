"""From the options of `fleet provision` to a worker's configuration."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from jobs.cli.fleet.add import check_worker_name
from jobs.errors import NotConfigured, UsageError
from jobs.models import Worker
from jobs.providers.gce.compute.network import check_source
from jobs.providers.gce.compute.strategies import EXTERNAL, read_strategies
from jobs.providers.gce.compute.template import read_spec
from jobs.providers.gce.identity import login_key
from jobs.states import WorkerDesired, WorkerState
from jobs.workers import cloud_init

ZONES = "us-central1-a,us-central1-b,us-central1-f"
MACHINE_TYPE = "n2-standard-8"
PROJECT_VARIABLES = ("CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_PROJECT")
PLANNED = (
    "project",
    "zones",
    "machine_type",
    "image",
    "network",
    "strategy",
    "user",
    "key",
    "source",
    "spot",
    "service_account",
)
_ZONE = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z]")


def named_project(options: Mapping[str, Any]) -> str:
    """Return the project: the flag's, the configured one, the environment's; empty when there is none."""
    if options.get("project") or settings.OFFLOAD.gcp_project:
        return str(options.get("project") or settings.OFFLOAD.gcp_project)
    return next((os.environ[one] for one in PROJECT_VARIABLES if os.environ.get(one)), "")


def named_zones(given: str | None) -> list[str]:
    """Return the zones to try: the flag's (with commas between), the configured ones, the usual ones."""
    text = given or ",".join(settings.OFFLOAD.gcp_zones) or ZONES
    return [zone.strip() for zone in text.split(",") if zone.strip()]


def is_new_plan(worker: Worker, options: Mapping[str, Any]) -> bool:
    """Return whether a worker that is known is to be made as the options say.

    Else it is what it was planned to be: there is something of it, or the command only names it, to go on.
    """
    if worker.state != WorkerState.ABSENT:
        return False
    return worker.desired != WorkerDesired.UP or any(options.get(name) for name in PLANNED)


def config_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a new worker on Compute Engine. Raises `UsageError`, `NotConfigured`."""
    check_worker_name(options["name"])
    # A tour has places and machines of its own; what is configured is for the real ones.
    configured = {} if options["simulate"] else settings.OFFLOAD.values
    zones = named_zones(options["zones"] or (ZONES if options["simulate"] else None))
    for zone in zones:
        if not _ZONE.fullmatch(zone):
            raise UsageError(
                f"{zone!r} is no zone.", hint="Write e.g. --zones europe-west4-a,europe-west4-b."
            )
    spec: dict[str, Any] = {
        "machine_type": options["machine_type"] or configured.get("gcp_machine_type") or MACHINE_TYPE,
        "spot": options["spot"],
        "data_disk_gb": options["disk_gb"],
        "max_run_seconds": int(options["max_hours"] * 3600),
    }
    for key in ("service_account", "snapshot_days"):
        if chosen := options[key] or configured.get(f"gcp_{key}"):
            spec[key] = chosen
    config: dict[str, Any] = {
        "project": _project(options),
        "zones": zones,
        "owner": owner_of(options),
        "spec": spec,
        "auto_resume": options["auto_resume"],
    }
    for key in ("network", "strategy", "user", "key", "source", "machine_only"):
        if chosen := options[key] or configured.get(f"gcp_{key}"):
            config[key] = chosen
    config |= _way_in(options, config, spec)
    read_spec(spec)
    if options["simulate"]:
        return config
    private = config.get("key")
    if private and not Path(private).expanduser().is_file():
        # Found out later, it would be a machine that costs and that nobody gets into.
        raise NotConfigured(
            f"There is no ssh key {private}.",
            hint="Name another with --key, or see `manage.py doctor --gcp`.",
        )
    if private:
        why, command = login_key.unusable(Path(private).expanduser())
        if why:
            raise NotConfigured(why, hint=f"`{command}`, or name another with --key.")
    image = options["image"] or configured.get("gcp_image")
    if not image:
        raise NotConfigured(
            "No image was named for the worker's container.",
            hint="Name one by digest: --image REGION-docker.pkg.dev/PROJECT/REPO/maintainer@sha256:...",
        )
    config |= {
        "container": {"image": image, "engine": ["sudo", "-n", "docker"]},
        "boot": {"idle_minutes": options["idle_minutes"]},
        "boot_file": cloud_init.BOOT_FILE,
        "tmux": f"{cloud_init.MOUNT}/bin/tmux",
        "tmux_socket": "",
    }
    cloud_init.of_worker(options["name"], cloud_init.MOUNT, config)
    return config


def owner_of(options: Mapping[str, Any]) -> str:
    """Return whose machines are meant: nobody else's are ever looked for."""
    return options["owner"] or f"{getpass.getuser()}-{socket.gethostname()}"


def _way_in(options: Mapping[str, Any], config: Mapping[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Return what the configuration says of who may use ssh. Raises `UsageError`, `Refused`."""
    strategy = str(config.get("strategy") or "")
    if strategy:
        read_strategies(strategy)
    if EXTERNAL in strategy:
        spec["external_ip"] = True  # `auto` takes a public address when there is one, and asks for none
        if not config.get("source"):
            raise UsageError(
                "A machine that is reached by its public address needs to know from where.",
                hint="Name your own range with --source, e.g. --source 203.0.113.7/32.",
            )
    if not config.get("source"):
        return {}
    world = bool(options["open_to_the_world"])
    source = check_source(str(config["source"]), world=world)
    return {"source": source, **({"open_to_the_world": True} if world else {})}


def _project(options: Mapping[str, Any]) -> str:
    found = named_project(options)
    if not found:
        raise NotConfigured(
            "No Google Cloud project was named.",
            hint="Give it with --project, or once and for all: `manage.py offload setup --gcp`.",
        )
    return found
