"""The cloud-init of a machine: `.gcp/cloud-init.yaml.j2`, filled in strictly. Pure but for reading it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from jobs.errors import NotConfigured
from jobs.installation import gcp_directory
from jobs.workers.container.spec import OWN, READ_ONLY, SPEC_LABEL, WRITABLE, ContainerSpec, spec_of

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE = "cloud-init.yaml.j2"
SCRIPT = "boot.sh.j2"
WATCHDOG = "watchdog.sh.j2"
MOUNT = "/mnt/disks/offload"
BOOT_FILE = "/run/offload/boot.json"
# Of one metadata value: https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations
LARGEST = 256 * 1024


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
    login_seconds: int = 60
    engine_seconds: int = 120
    pull_tries: int = 5
    idle_minutes: float = 30
    metadata: str = "http://169.254.169.254/computeMetadata/v1"
    console: str = "/dev/ttyS0"
    boot_file: str = BOOT_FILE
    docker: str = "docker"

    def values(self) -> dict[str, Any]:
        """Return what the templates may name."""
        values = {key: value for key, value in asdict(self).items() if key != "spec"}
        return values | {
            "named": _of_anybody(self.spec, self.docker, self.image, passwd=True),
            "plain": _of_anybody(self.spec, self.docker, self.image, passwd=False),
            "container": self.spec.container,
            "spec_digest": self.spec.digest(),
            "network": self.spec.network,
            "run_argv": _run_argv(self.spec, self.docker, self.image),
            "passwd_file": self.spec.passwd_file,
            "directories": [*READ_ONLY, *WRITABLE, *OWN],
            "registry": self.image.partition("/")[0] if "/" in self.image else "",
        }


def _run_argv(spec: ContainerSpec, docker: str, image: str) -> list[str]:
    return [docker, *spec.run_argv(image)[len(spec.engine) :]]


def _of_anybody(spec: ContainerSpec, docker: str, image: str, *, passwd: bool) -> dict[str, Any]:
    """Return a spec and its command with @UID@, @GID@ and @SPEC@ for what only the machine will know."""
    spec = replace(spec, user="@UID@:@GID@", passwd=passwd)
    digest = f"{SPEC_LABEL}={spec.digest()}"
    words = [word.replace(digest, f"{SPEC_LABEL}=@SPEC@") for word in _run_argv(spec, docker, image)]
    return {"spec": spec.canonical(), "run_argv": words}


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


def _check(boot: Boot) -> None:
    """Refuse, by name, settings that would leave their place in the templates or make no sense."""

    def refuse(name: str, why: str) -> NoReturn:
        raise NotConfigured(
            f"The boot setting `{name}` of the worker {boot.name!r} {why}.",
            hint="It is in the worker's configuration, under `boot`.",
        )

    values = asdict(boot)
    for name in ("name", "root", "image", "user", "owner", "disk", "mount", "links", "metadata", "console",
                 "boot_file", "docker"):  # fmt: skip
        for value in values[name] if name == "links" else (values[name],):
            if not isinstance(value, str):
                refuse(name, f"is {value!r} and not a text")
            if not value.isprintable():
                refuse(name, f"has a line break or a control character in it: {value!r}")
    for name in ("root", "disk", "mount", "links", "console", "boot_file"):
        for value in values[name] if name == "links" else (values[name],):
            if not value.startswith("/"):
                refuse(name, f"is {value!r} and not a whole path")
    if not re.fullmatch("[0-9]+:[0-9]+", boot.owner):
        refuse("owner", f"is {boot.owner!r} and not `uid:gid`")
    for name in ("disk_seconds", "login_seconds", "engine_seconds", "pull_tries", "idle_minutes"):
        value = values[name]
        kinds = (int, float) if name == "idle_minutes" else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 10**6:
            refuse(
                name,
                f"is {value!r} and not a {'number' if name == 'idle_minutes' else 'whole number'} above 0",
            )


def _environment() -> Environment:
    # Here and not above: no other command needs it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(gcp_directory()),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 - shell and YAML, quoted by the filters `sh` and `tojson`
    )
    made.filters["sh"] = lambda value: shlex.quote(str(value))
    return made


def render(boot: Boot, template: str = TEMPLATE) -> str:
    """Return the text of cloud-init (or of one of its scripts), validated.

    An unknown name in a template is an error of Jinja. Raises `NotConfigured` for settings that make no
    sense, naming them, and for a text that is larger than Google takes.
    """
    _check(boot)
    text = _environment().get_template(template).render(boot.values())
    size = len(text.encode())
    if size > LARGEST:
        raise NotConfigured(
            f"What the worker {boot.name} is to read at its boot has {size} bytes; Google takes {LARGEST}.",
            hint="Shorten the worker's boot settings.",
        )
    return text
