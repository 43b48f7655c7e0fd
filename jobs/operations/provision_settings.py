"""From a provision request to the configuration of a worker on Compute Engine."""

from __future__ import annotations

import getpass
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from jobs.errors import NotConfigured, UsageError
from jobs.models import Worker
from jobs.operations.simulation import PROJECT
from jobs.operations.workers import check_worker_name
from jobs.providers.gce.compute.network import check_source
from jobs.providers.gce.compute.strategies import EXTERNAL, read_strategies
from jobs.providers.gce.compute.template import read_spec
from jobs.providers.gce.identity import login_key
from jobs.states import WorkerDesired, WorkerState
from jobs.workers import cloud_init

DEFAULT_ZONES = ("us-central1-a", "us-central1-b", "us-central1-f")
DEFAULT_MACHINE_TYPE = "n2-standard-8"
PROJECT_VARIABLES = ("CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_PROJECT")
_ZONE = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z]")


@dataclass(frozen=True)
class ProvisionRequest:
    """A machine to create. Empty fields take the configured value, else the default of Offload.

    `take_over`: also a machine that runs for another Offload home. `simulate`: a simulated machine.
    """

    name: str
    project: str = ""
    zones: tuple[str, ...] = ()
    owner: str = ""
    machine_type: str = ""
    spot: bool = False
    disk_gb: int = 200
    image: str = ""
    network: str = ""
    strategy: str = ""
    source: str = ""
    open_to_the_world: bool = False
    service_account: str = ""
    snapshot_days: int = 0
    user: str = ""
    key: str = ""
    idle_minutes: float = 30.0
    max_hours: float = 12.0
    machine_only: bool = False
    take_over: bool = False
    auto_resume: bool = False
    simulate: bool = False

    @property
    def names_a_machine(self) -> bool:
        """Return whether it says more than a name: a known worker is then created as the request says."""
        return any(
            (
                self.project, self.zones, self.machine_type, self.image, self.network, self.strategy,
                self.user, self.key, self.source, self.spot, self.service_account,
            )
        )  # fmt: skip


def named_project(project: str = "") -> str:
    """Return the given project, the configured one, or that of the environment; empty when there is none."""
    if project or settings.OFFLOAD.gcp_project:
        return project or str(settings.OFFLOAD.gcp_project)
    return next((os.environ[one] for one in PROJECT_VARIABLES if os.environ.get(one)), "")


def named_zones(zones: tuple[str, ...] = ()) -> list[str]:
    """Return the given zones, the configured ones, or the default ones."""
    found = zones or settings.OFFLOAD.gcp_zones or DEFAULT_ZONES
    return [zone.strip() for zone in found if zone.strip()]


def owner_of(owner: str = "") -> str:
    """Return the label of the user's machines. Machines with another label are never touched."""
    return owner or f"{getpass.getuser()}-{socket.gethostname()}"


def replaces_plan(worker: Worker, request: ProvisionRequest) -> bool:
    """Return whether a known worker is created as the request says.

    Otherwise it is created as planned before: something of it exists, or the request only names it.
    """
    if worker.state != WorkerState.ABSENT:
        return False
    return worker.desired != WorkerDesired.UP or request.names_a_machine


def config_of(request: ProvisionRequest) -> dict[str, Any]:
    """Return the configuration of a new worker. Raises `UsageError`, `NotConfigured`, `Refused`."""
    check_worker_name(request.name)
    # The configured values are for real machines; a simulated one has its own places.
    configured = {} if request.simulate else settings.OFFLOAD.values
    zones = list(request.zones or DEFAULT_ZONES) if request.simulate else named_zones(request.zones)
    for zone in zones:
        if not _ZONE.fullmatch(zone):
            raise UsageError(
                f"{zone!r} is not a zone.", hint="Write e.g. --zones europe-west4-a,europe-west4-b."
            )
    spec: dict[str, Any] = {
        "machine_type": request.machine_type or configured.get("gcp_machine_type") or DEFAULT_MACHINE_TYPE,
        "spot": request.spot,
        "data_disk_gb": request.disk_gb,
        "max_run_seconds": int(request.max_hours * 3600),
    }
    for key in ("service_account", "snapshot_days"):
        if chosen := getattr(request, key) or configured.get(f"gcp_{key}"):
            spec[key] = chosen
    config: dict[str, Any] = {
        "project": _project(request),
        "zones": zones,
        "owner": owner_of(request.owner),
        "spec": spec,
        "auto_resume": request.auto_resume,
    }
    for key in ("network", "strategy", "user", "key", "source", "machine_only"):
        if chosen := getattr(request, key) or configured.get(f"gcp_{key}"):
            config[key] = chosen
    config |= _ssh_access(request, config, spec)
    read_spec(spec)
    if request.simulate:
        return config
    _check_key(config.get("key"))
    image = request.image or configured.get("gcp_image")
    if not image:
        raise NotConfigured(
            "No container image was named.",
            hint="Name one by digest: --image REGION-docker.pkg.dev/PROJECT/REPO/maintainer@sha256:...",
        )
    config |= {
        "container": {"image": image, "engine": ["sudo", "-n", "docker"]},
        "boot": {"idle_minutes": request.idle_minutes},
        "boot_file": cloud_init.BOOT_FILE,
        "tmux": f"{cloud_init.MOUNT}/bin/tmux",
        "tmux_socket": "",
    }
    cloud_init.of_worker(request.name, cloud_init.MOUNT, config)
    return config


def _check_key(private: str | None) -> None:
    """Raise `NotConfigured` unless ssh can use the key. A machine without access would only cost."""
    if not private:
        return
    path = Path(private).expanduser()
    if not path.is_file():
        raise NotConfigured(
            f"There is no ssh key {private}.", hint="Name another with --key, or see `offload doctor --gcp`."
        )
    why, command = login_key.unusable(path)
    if why:
        raise NotConfigured(why, hint=f"`{command}`, or name another with --key.")


def _ssh_access(request: ProvisionRequest, config: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of who may use ssh. Raises `UsageError`, `Refused`."""
    strategy = str(config.get("strategy") or "")
    if strategy:
        read_strategies(strategy)
    if EXTERNAL in strategy:
        spec["external_ip"] = True  # `auto` uses a public address when there is one, and requests none
        if not config.get("source"):
            raise UsageError(
                "A machine with a public address needs the address range that may use ssh.",
                hint="Name your own range with --source, e.g. --source 203.0.113.7/32.",
            )
    if not config.get("source"):
        return {}
    source = check_source(str(config["source"]), world=request.open_to_the_world)
    return {"source": source, **({"open_to_the_world": True} if request.open_to_the_world else {})}


def _project(request: ProvisionRequest) -> str:
    found = PROJECT if request.simulate else named_project(request.project)
    if not found:
        raise NotConfigured(
            "No Google Cloud project was named.",
            hint="Pass --project, or configure one: `offload setup --gcp`.",
        )
    return found
