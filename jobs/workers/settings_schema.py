"""What a user may set for a worker of each kind: the schema of `Worker.config`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.errors import UsageError


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ContainerSettings(_Table):
    """The container that jobs run in; see docs/container.md."""

    image: str = ""
    engine: list[str] | str = Field(default_factory=list)
    name: str = ""
    isolation: Literal["", "worker", "job"] = ""
    network: str = ""
    memory: str = ""
    cpus: str | float = ""
    pids: int = Field(default=8192, gt=0)


class WorkerSettings(_Table):
    """What a worker of any kind may have. `container`: False refuses one."""

    container: ContainerSettings | Literal[False] | None = None
    git: str = "git"
    python: str = "python3"
    tmux: str = "tmux"
    tmux_socket: str = ""


class SshSettings(WorkerSettings):
    """An existing machine behind ssh. What is not given comes from the OpenSSH configuration."""

    host: str = ""
    port: int | None = Field(default=None, ge=1, le=65535)
    user: str = ""
    key: str = ""
    jump: str = ""
    alias: str = ""
    proxy_command: list[str] | str | None = None
    known_hosts: str = ""
    pin_new_host: bool = True


class MachineSpec(_Table):
    """The machine to create; `jobs.providers.gce.compute.template.Spec` says what the fields mean."""

    machine_type: str = "n2-standard-8"
    zone: str = ""
    image: str = ""
    image_family: str = ""
    boot_disk_gb: int = Field(default=20, gt=0)
    data_disk_gb: int = Field(default=200, gt=0)
    data_disk_type: str = ""
    spot: bool = False
    max_run_seconds: int = Field(default=0, ge=0)
    external_ip: bool = False
    service_account: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    resource_policies: list[str] = Field(default_factory=list)
    snapshot_days: int = Field(default=0, ge=0)


class GceSettings(WorkerSettings):
    """A machine on Compute Engine, real or simulated."""

    project: str
    zone: str = ""
    zones: list[str] = Field(default_factory=list)
    owner: str = ""
    repository: str = ""
    spec: MachineSpec = Field(default_factory=MachineSpec)
    auto_resume: bool = False
    machine_only: bool = False
    simulated: bool = False
    network: str = ""
    subnetwork: str = ""
    strategy: str | list[str] = "iap"
    source: str = ""
    open_to_the_world: bool = False
    user: str = ""
    key: str = ""
    port: int | None = Field(default=None, ge=1, le=65535)
    alias: str = ""
    tunnel: list[str] = Field(default_factory=list)
    host_pattern: str = ""
    suffix: str = ""
    endpoint: str = ""
    boot: dict[str, Any] | None = None
    boot_file: str = ""
    boot_deadline: float | None = Field(default=None, gt=0)
    running_deadline: float | None = Field(default=None, gt=0)


MODELS: Mapping[str, type[WorkerSettings]] = {
    "local": WorkerSettings,
    "ssh": SshSettings,
    "gce-cos": GceSettings,
}


def check_settings(
    worker: str, provider: str, config: Mapping[str, Any], only: Collection[str] | None = None
) -> None:
    """Raise `UsageError` unless a worker of this kind can have these settings.

    The error names the setting, its value and what is allowed. `only`: the settings that change; a home of
    an earlier version may have others that are not known any more.
    """
    model = MODELS.get(provider)
    if model is None:
        return
    try:
        model.model_validate(config)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            if only is None or found["loc"][0] in only:
                raise _usage_error(worker, provider, model, found) from error


def _usage_error(
    worker: str, provider: str, model: type[WorkerSettings], found: Mapping[str, Any]
) -> UsageError:
    name = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden" and len(found["loc"]) == 1:
        return UsageError(
            f"The worker {worker} cannot have the setting {name} ({found['input']!r}).",
            hint=f"Settings of a worker of kind {provider}: {', '.join(sorted(model.model_fields))}.",
        )
    if found["type"] == "missing":
        return UsageError(f"The worker {worker} needs the setting {name}.")
    return UsageError(f"The setting {name} of the worker {worker} is {found['input']!r}: {found['msg']}.")
