"""From the options of `fleet provision` to a worker's configuration."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from typing import Any

from jobs.errors import NotConfigured, UsageError
from jobs.management.fleet import check_worker_name
from jobs.providers.gce.network import check_source
from jobs.providers.gce.strategies import EXTERNAL, read_strategies
from jobs.providers.gce.template import read_spec
from jobs.workers import boot

ZONES = "us-central1-a,us-central1-b,us-central1-f"
_ZONE = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z]")
_PROJECT_VARIABLES = ("OFFLOAD_GCP_PROJECT", "CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_PROJECT")


def config_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a new worker on Compute Engine. Raises `UsageError`, `NotConfigured`."""
    check_worker_name(options["name"])
    zones = [zone.strip() for zone in (options["zones"] or ZONES).split(",") if zone.strip()]
    for zone in zones:
        if not _ZONE.fullmatch(zone):
            raise UsageError(
                f"{zone!r} is no zone.", hint="Write e.g. --zones europe-west4-a,europe-west4-b."
            )
    spec: dict[str, Any] = {
        "machine_type": options["machine_type"],
        "spot": options["spot"],
        "data_disk_gb": options["disk_gb"],
        "max_run_seconds": int(options["max_hours"] * 3600),
    }
    for key in ("service_account", "snapshot_days"):
        if options[key]:
            spec[key] = options[key]
    config: dict[str, Any] = {
        "project": options["project"] or _project(),
        "zones": zones,
        "owner": owner_of(options),
        "spec": spec,
        "auto_resume": options["auto_resume"],
    }
    for key in ("network", "strategy", "user", "key", "source", "machine_only"):
        if options[key]:
            config[key] = options[key]
    config |= _way_in(options, spec)
    read_spec(spec)
    if options["simulate"]:
        return config
    if not options["image"]:
        raise NotConfigured(
            "No image was named for the worker's container.",
            hint="Name one by digest: --image REGION-docker.pkg.dev/PROJECT/REPO/maintainer@sha256:...",
        )
    config |= {
        "container": {"image": options["image"], "engine": ["sudo", "-n", "docker"]},
        "boot": {"idle_minutes": options["idle_minutes"]},
        "boot_file": boot.BOOT_FILE,
        "tmux": f"{boot.MOUNT}/bin/tmux",
        "tmux_socket": "",
    }
    boot.of_worker(options["name"], boot.MOUNT, config)
    return config


def owner_of(options: Mapping[str, Any]) -> str:
    """Return whose machines are meant: nobody else's are ever looked for."""
    return options["owner"] or f"{getpass.getuser()}-{socket.gethostname()}"


def _way_in(options: Mapping[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Return what the configuration says of who may use ssh. Raises `UsageError`, `Refused`."""
    strategy = options["strategy"] or ""
    if strategy:
        read_strategies(strategy)
    if EXTERNAL in strategy:
        spec["external_ip"] = True  # `auto` takes a public address when there is one, and asks for none
        if not options["source"]:
            raise UsageError(
                "A machine that is reached by its public address needs to know from where.",
                hint="Name your own range with --source, e.g. --source 203.0.113.7/32.",
            )
    if not options["source"]:
        return {}
    world = bool(options["open_to_the_world"])
    source = check_source(options["source"], world=world)
    return {"source": source, **({"open_to_the_world": True} if world else {})}


def _project() -> str:
    for name in _PROJECT_VARIABLES:
        if os.environ.get(name):
            return os.environ[name]
    raise NotConfigured(
        "No Google Cloud project was named.", hint="Give it with --project, or set GOOGLE_CLOUD_PROJECT."
    )
