"""The cloud-init of a machine: `.gcp/cloud-init.yaml.j2`, filled in strictly. Pure but for reading it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import NotConfigured
from jobs.workers.container_spec import READ_ONLY, WRITABLE, ContainerSpec, spec_of

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).resolve().parents[2] / ".gcp"
TEMPLATE = "cloud-init.yaml.j2"
SCRIPT = "boot.sh.j2"
WATCHDOG = "watchdog.sh.j2"
MOUNT = "/mnt/disks/offload"
BOOT_FILE = "/run/offload/boot.json"


@dataclass(frozen=True)
class Boot:
    """What a machine needs to know at its boot. Times in seconds unless named otherwise.

    `disk`: the data disk's device; `mount`: where it goes; `links`: paths that lead to `root`. `image`: by
    digest. `user`: login name whose machine this is (empty: `owner`, as `uid:gid`). `metadata`: base URL of
    the metadata server; `console`: the serial console; both are other ones in a sandbox.
    """

    name: str
    root: str
    image: str
    spec: ContainerSpec
    user: str = ""
    owner: str = "1000:1000"
    disk: str = "/dev/disk/by-id/google-offload-data"
    mount: str = MOUNT
    links: tuple[str, ...] = ("/var/lib/offload",)
    disk_seconds: int = 120
    engine_seconds: int = 120
    idle_minutes: float = 30
    metadata: str = "http://169.254.169.254/computeMetadata/v1"
    console: str = "/dev/ttyS0"
    boot_file: str = BOOT_FILE
    docker: str = "docker"

    def values(self) -> dict[str, Any]:
        """Return what the templates may name."""
        values = {key: value for key, value in asdict(self).items() if key != "spec"}
        return values | {
            "container": self.spec.container,
            "spec_digest": self.spec.digest(),
            "network": self.spec.network,
            "run_argv": [self.docker, *self.spec.run_argv(self.image)[len(self.spec.engine) :]],
            "passwd_file": self.spec.passwd_file,
            "directories": [*READ_ONLY, *WRITABLE],
            "registry": self.image.partition("/")[0] if "/" in self.image else "",
        }


def of_worker(name: str, root: str, config: Mapping[str, Any]) -> Boot:
    """Return the boot of a worker's machine. Raises `NotConfigured` without an image named by digest."""
    spec = spec_of(config, root)
    if spec is None or "@sha256:" not in spec.image:
        raise NotConfigured(
            f"The worker {name} has no image by digest (name@sha256:...), so what it ran could not be told.",
            hint="Build and push it with `manage.py fleet image build`, and name it with --image.",
        )
    boot = dict(config.get("boot") or {})
    known = Boot.__dataclass_fields__
    unknown = sorted(set(boot) - set(known))
    if unknown:
        raise NotConfigured(f"The worker's boot settings have no {', '.join(unknown)}.")
    if "links" in boot:
        boot["links"] = tuple(boot["links"])
    made = Boot(name=name, root=root, image=spec.image, spec=spec, user=str(config.get("user") or ""))
    made = replace(made, **boot)
    own = replace(spec, user=made.owner, passwd=made.owner.partition(":")[0] != "1000")
    return replace(made, spec=own)


def _environment() -> Environment:
    # Here and not above: no other command needs it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 - shell and YAML, quoted by the filters `sh` and `tojson`
    )
    made.filters["sh"] = lambda value: shlex.quote(str(value))
    return made


def render(boot: Boot, template: str = TEMPLATE) -> str:
    """Return the text of cloud-init (or of one of its scripts). An unknown name in it is an error."""
    return _environment().get_template(template).render(boot.values())
