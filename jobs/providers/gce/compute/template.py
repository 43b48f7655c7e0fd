"""From a worker's configuration and a request to the body of `instances.insert`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from jobs.errors import NotConfigured, UsageError
from jobs.providers.gce.compute import naming
from jobs.providers.gce.compute.strategies import HOST_PATTERN, IAP_TUNNEL, read_strategies

# Series that take no Persistent Disk at all, only Hyperdisk, for boot and data disks alike. C4, C4A, C4D, N4,
# N4A and N4D are said to be so by https://github.com/nextflow-io/nextflow/issues/6614 (C3 and C3D take both).
# That A4, M4 and X4 take hyperdisk-balanced is in https://cloud.google.com/compute/docs/disks/hyperdisks;
# that they take nothing else, and all of C4N, G4, H4D and M4N, is unconfirmed. A3 has types of both kinds.
HYPERDISK_ONLY = frozenset(
    {"a4", "c4", "c4a", "c4d", "c4n", "g4", "h4d", "m4", "m4n", "n4", "n4a", "n4d", "x4"}
)
# Series that are not in that page's table of hyperdisk-balanced (some take other Hyperdisks).
WITHOUT_HYPERDISK_BALANCED = frozenset({"c2", "c2d", "e2", "f1", "g1", "n1", "n2", "n2d", "t2a", "t2d"})
ARM = frozenset({"c4a", "n4a", "t2a"})  # their images have a family of their own


@dataclass(frozen=True)
class Settings:
    """A worker's configuration for this provider. `project` and `zone` are needed, the rest has defaults.

    `network`: an existing one (with `subnetwork`, unless it is in auto mode); default: the one that
    `network.py` makes. `strategy`: how the machine is reached: `iap`, `internal`, `external`, several in the
    order in which they are tried, or `auto`: all; `strategies` holds them. `tunnel`: the argv that carries
    ssh on its stdin and stdout under `iap`; `{vm} {zone} {project}` are filled in. `suffix`: the end of the
    internal host name. `owner`, `repository`, `home_id` (of the Offload home): labels. `zones`: where else
    machines may be.
    """

    project: str
    zone: str
    network: str = naming.NETWORK
    subnetwork: str = ""
    strategy: str = "iap"
    tunnel: tuple[str, ...] = IAP_TUNNEL
    host_pattern: str = HOST_PATTERN
    suffix: str = "internal"
    port: int | None = None
    user: str = ""
    key: str = ""
    owner: str = ""
    repository: str = ""
    home_id: str = ""
    zones: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ("iap",)

    @property
    def all_zones(self) -> tuple[str, ...]:
        """Every zone where machines of this configuration may be, without repetition."""
        return tuple(dict.fromkeys((self.zone, *self.zones)))

    @property
    def all_regions(self) -> tuple[str, ...]:
        """The regions of those zones."""
        return tuple(dict.fromkeys(naming.region_of(zone) for zone in self.all_zones))

    @property
    def region(self) -> str:
        """The region of the zone."""
        return naming.region_of(self.zone)

    @property
    def own_network(self) -> bool:
        """Whether the network is ours to make and to delete."""
        return self.network == naming.NETWORK

    @property
    def network_link(self) -> str:
        """The network, as bodies name it."""
        return f"projects/{self.project}/global/networks/{self.network}"

    @property
    def subnetwork_link(self) -> str:
        """The subnetwork, as bodies name it; empty where the network chooses."""
        name = self.subnetwork or (naming.NETWORK if self.own_network else "")
        return f"projects/{self.project}/regions/{self.region}/subnetworks/{name}" if name else ""


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a worker's configuration. Raises `NotConfigured` naming what is wrong.

    Without a `zone`, that of the data disk counts, else the first of `zones`.
    """
    zone = config.get("zone") or config.get("disk_zone") or next(iter(config.get("zones") or ()), "")
    config = {**config, "zone": zone}
    for needed in ("project", "zone"):
        if not config.get(needed):
            raise NotConfigured(
                f"The worker {config.get('name', '')} has no {needed}.",
                hint=f"Give it with `--{needed}`, or see `manage.py offload setup`.",
            )
    if not naming.region_of(str(config["zone"])):
        raise NotConfigured(
            f"{config['zone']!r} is no zone; us-central1-a is one.", hint="See `gcloud compute zones list`."
        )
    known = {one.name for one in fields(Settings)}
    values = {key: value for key, value in config.items() if key in known and value not in (None, "")}
    for name in ("tunnel", "zones"):
        if name in values:
            values[name] = tuple(str(part) for part in values[name])
    values["strategies"] = read_strategies(values.get("strategy", "iap"))
    values["strategy"] = values["strategies"][0]
    return Settings(**values)


@dataclass(frozen=True)
class Spec:
    """What is asked for. Sizes in GiB, `max_run_seconds` 30 to 120 days; 0 means no deadline.

    `user_data` is cloud-init's text. `service_account`: an email; without one the machine has no identity
    and no access to anything. `resource_policies`: of the machine (when it runs, where). `snapshot_days`:
    a snapshot of the data disk each day, kept so long; 0: none. `intent`: a text of the caller's that makes
    two equal requests different.
    """

    machine_type: str = "n2-standard-8"
    image: str = ""
    image_family: str = ""
    boot_disk_gb: int = 20
    data_disk_gb: int = 200
    data_disk_type: str = ""
    spot: bool = False
    max_run_seconds: int = 12 * 3600
    external_ip: bool = False
    service_account: str = ""
    user_data: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    resource_policies: tuple[str, ...] = ()
    snapshot_days: int = 0
    intent: str = ""

    @property
    def series(self) -> str:
        """The machine series: `n2` of `n2-standard-8`."""
        return self.machine_type.partition("-")[0]

    @property
    def disk_type(self) -> str:
        """The type of both disks, unless the data disk was given one."""
        return "hyperdisk-balanced" if self.series in HYPERDISK_ONLY else "pd-balanced"

    @property
    def source_image(self) -> str:
        """The image, as bodies name it."""
        family = self.image_family or ("cos-arm64-stable" if self.series in ARM else "cos-stable")
        return self.image or f"projects/cos-cloud/global/images/family/{family}"


def read_spec(values: Mapping[str, Any]) -> Spec:
    """Return a request. Raises `UsageError` for a field that does not exist or cannot be."""
    known = {one.name: one for one in fields(Spec)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(
            f"A Compute Engine machine has no {', '.join(unknown)}.", hint=f"Known: {', '.join(known)}."
        )
    given = {key: value for key, value in values.items() if value is not None}
    if "resource_policies" in given:
        given["resource_policies"] = tuple(given["resource_policies"])
    spec = Spec(**given)
    if min(spec.boot_disk_gb, spec.data_disk_gb) < 10:
        raise UsageError("A disk at Google has at least 10 GiB.", hint="The default is 20 and 200.")
    if not 0 <= spec.snapshot_days <= 365:
        raise UsageError("Snapshots are kept for 1 to 365 days (or 0: none are made).")
    if spec.max_run_seconds and not 30 <= spec.max_run_seconds <= 120 * 86400:
        raise UsageError("The deadline of a machine is between 30 seconds and 120 days (or 0: none).")
    if spec.data_disk_type and not takes_disk(spec.machine_type, spec.data_disk_type):
        raise UsageError(
            f"{spec.machine_type} takes no {spec.data_disk_type}.", hint=f"Use {spec.disk_type}."
        )
    return spec


def takes_disk(machine_type: str, disk_type: str) -> bool:
    """Return whether a machine of that type can have a disk of that type, as far as is known."""
    series = machine_type.partition("-")[0]
    if disk_type == "hyperdisk-balanced":
        return series not in WITHOUT_HYPERDISK_BALANCED
    return not (disk_type.startswith("pd-") and series in HYPERDISK_ONLY)


def require_disk(machine_type: str, disk: Mapping[str, Any], doing: str) -> None:
    """Raise `UsageError` when a machine of that type cannot have the existing `disk` (as the API has it)."""
    kind = naming.last(str(disk.get("type") or ""))
    if not takes_disk(machine_type, kind):
        raise UsageError(
            f"{doing} failed: {machine_type} cannot have the disk {disk.get('name')}, which is a {kind}.",
            hint="Choose a machine type of another series, or make a disk of the other kind from a snapshot: "
            f"`gcloud compute snapshots create NAME --source-disk {disk.get('name')}`.",
        )


def snapshot_policy(days: int) -> str:
    """Return the name of the schedule that keeps snapshots for `days`."""
    return f"offload-snapshots-{days}d"


def instance_body(settings: Settings, spec: Spec, name: str, disk_exists: bool) -> dict[str, Any]:
    """Return the body of `instances.insert`: machine, boot disk, and the data disk made or attached."""
    labels = naming.labels(name, settings.owner, settings.repository, settings.home_id)
    labels.update({key: naming.label(value) for key, value in spec.labels.items()})
    zone = f"zones/{settings.zone}"
    interface: dict[str, Any] = {"network": settings.network_link}
    if settings.subnetwork_link:
        interface["subnetwork"] = settings.subnetwork_link
    if spec.external_ip:
        interface["accessConfigs"] = [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}]
    body: dict[str, Any] = {
        "name": name,
        "description": naming.description(settings.owner, settings.home_id),
        "machineType": f"{zone}/machineTypes/{spec.machine_type}",
        "labels": labels,
        "tags": {"items": [naming.TAG]},
        "disks": [
            _boot_disk(spec, name, zone, labels),
            _data_disk(settings, spec, name, labels, disk_exists),
        ],
        "networkInterfaces": [interface],
        "metadata": {"items": _metadata(spec)},
        "shieldedInstanceConfig": {
            "enableSecureBoot": True,
            "enableVtpm": True,
            "enableIntegrityMonitoring": True,
        },
        "scheduling": _scheduling(spec),
    }
    if spec.service_account:
        # The scope is wide on purpose: what the machine may do is what its account's roles say.
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        body["serviceAccounts"] = [{"email": spec.service_account, "scopes": scopes}]
    if spec.resource_policies:
        body["resourcePolicies"] = list(spec.resource_policies)
    return body


def _boot_disk(spec: Spec, name: str, zone: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "boot": True,
        "autoDelete": True,
        "initializeParams": {
            "diskName": name,
            "sourceImage": spec.source_image,
            "diskSizeGb": str(spec.boot_disk_gb),
            "diskType": f"{zone}/diskTypes/{spec.disk_type}",
            "labels": dict(labels),
        },
    }


def _data_disk(
    settings: Settings, spec: Spec, name: str, labels: Mapping[str, str], exists: bool
) -> dict[str, Any]:
    zone = f"zones/{settings.zone}"
    disk: dict[str, Any] = {"deviceName": naming.DEVICE, "autoDelete": False, "mode": "READ_WRITE"}
    if exists:
        return {**disk, "source": f"projects/{settings.project}/{zone}/disks/{naming.data_disk(name)}"}
    params: dict[str, Any] = {
        "diskName": naming.data_disk(name),
        "diskSizeGb": str(spec.data_disk_gb),
        "diskType": f"{zone}/diskTypes/{spec.data_disk_type or spec.disk_type}",
        "labels": dict(labels),
    }
    if spec.snapshot_days:
        policy = snapshot_policy(spec.snapshot_days)
        params["resourcePolicies"] = [
            f"projects/{settings.project}/regions/{settings.region}/resourcePolicies/{policy}"
        ]
    return {
        **disk,
        "initializeParams": params,
    }


def _metadata(spec: Spec) -> list[dict[str, str]]:
    # `enable-guest-attributes` is the key in gcloud's own source (GUEST_ATTRIBUTES_METADATA_KEY); the guest's
    # agent (and cloud-init) then publish the ssh host keys under `hostkeys/`.
    values = {
        "enable-oslogin": "TRUE",
        "enable-guest-attributes": "TRUE",
        "block-project-ssh-keys": "TRUE",
        **({"user-data": spec.user_data} if spec.user_data else {}),
        **spec.metadata,
    }
    return [{"key": key, "value": value} for key, value in values.items()]


def _scheduling(spec: Spec) -> dict[str, Any]:
    scheduling: dict[str, Any] = {"provisioningModel": "SPOT" if spec.spot else "STANDARD"}
    if spec.spot:  # `preemptible` is the older kind, which takes no deadline
        scheduling.update({"onHostMaintenance": "TERMINATE", "automaticRestart": False})
    if spec.max_run_seconds:  # the deadline outside the guest: Google stops it whatever happens inside
        # 30 seconds to 120 days, to stop or delete; not with the older `preemptible`; up to 30 seconds late:
        # https://cloud.google.com/compute/docs/instances/limit-vm-runtime
        scheduling["maxRunDuration"] = {"seconds": str(spec.max_run_seconds)}
    if spec.spot or spec.max_run_seconds:
        scheduling["instanceTerminationAction"] = "STOP"
    return scheduling
