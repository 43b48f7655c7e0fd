"""What a worker's container must be: its configuration, and the engine's command line that makes it. Pure."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobs.errors import NotConfigured
from jobs.remote.container_commands import CONTAINER, Inside
from jobs.remote.offload_runner.commands.supervise import USER
from jobs.remote.offload_runner.engine.containers import PYTHON
from jobs.remote.offload_runner.files.paths import AGENT, BASE, SECRET, SECRET_WRITES

DEFAULT_IMAGE = "maintainer:latest"
SPEC_LABEL = "offload.spec"
ROOT_LABEL = "offload.root"
IMAGE_USER = "1000:1000"
DEFAULT_NETWORK = "bridge"
_ISOLATIONS = ("worker", "job")
_TMP = "/tmp:rw,nosuid,nodev,exec,mode=1777"  # noqa: S108 - the container's own, in memory
_RUN = "/run:rw,nosuid,nodev,noexec,size=64m"
# What a job's code may write, and what it may only read.
WRITABLE = ("worktrees", "home", "caches")
READ_ONLY = (
    "bin",
    "repos",
    "gemini-cli-config",
    "claude-code-config",
    "codex-config",
    "opencode-config",
    "claude-code-screen",
)
# What only the runner and git write.
OWN = (
    "jobs",
    "state",
    "state/rescue",
    "making",
    "base",
    "base/worktrees",
    "base/home",
    "base/cache",
    "agents",
    "secret",
    "base/caches",
)
NO_NETWORK = "none"


# What the supervisor, user 0, needs to start tasks as the job's user and to end them. The tasks have none.
SUPERVISOR_CAPABILITIES = ("KILL", "SETGID", "SETUID")
SUPERVISOR_USER = "0:0"


@dataclass(frozen=True)
class Mount:
    """A directory of the host at the same path in the container, or `source` there."""

    path: str
    writable: bool
    source: str = ""

    def __str__(self) -> str:
        source = self.source or self.path
        return f"type=bind,source={source},target={self.path}" + ("" if self.writable else ",readonly")


@dataclass(frozen=True)
class EngineKind:
    """What of an engine changes how a container is made.

    `rootless`: it runs as an ordinary user; `remapped`: a rootful Docker that shifts user numbers.
    """

    podman: bool = False
    rootless: bool = False
    remapped: bool = False

    @property
    def is_you(self) -> bool:
        """Tell whether user 0 of a container is the engine's user outside, and no other number can be."""
        return self.rootless and not self.podman


@dataclass(frozen=True)
class ContainerSpec:
    """Everything that is decided about a container. `user` is `uid:gid`; limits are the engine's words."""

    root: str
    image: str = DEFAULT_IMAGE
    engine: tuple[str, ...] = ("docker",)
    name: str = CONTAINER
    isolation: str = "worker"
    network: str = DEFAULT_NETWORK
    memory: str = ""
    cpus: str = ""
    pids: int = 8192
    user: str = IMAGE_USER
    passwd: bool = False
    session: str = ""  # of the one job, for a container of a job
    control: bool = False  # the container of git, which runs no job's code
    place: str = ""  # one of `PLACES`, for a container that a runner starts
    edits: bool = False  # the agent's place: it writes the worktree
    repository: str = ""  # short name of the repository, for the place of the base
    kind: EngineKind = EngineKind()

    @property
    def inside(self) -> Inside:
        """Return the way in."""
        return Inside(self.engine, self.name, self.isolation == "job")

    @property
    def container(self) -> str:
        """Return the container's name."""
        if self.control:
            return self.inside.control
        if self.place:
            return self.inside.others(self.session)[self.place]
        return self.inside.container_of(self.session) if self.session else self.name

    def owned_by(self, user: str) -> ContainerSpec:
        """Return the spec for mounted directories that belong to `uid:gid` on the host.

        That is the container's user too, so that what jobs write belongs to the same. With a rootless
        Docker the same person is user 0 inside, and without capabilities no more than themselves.
        """
        if self.kind.is_you:
            return replace(self, user="0:0", passwd=False)
        # One that is not the image's needs a name.
        return replace(self, user=user, passwd=user.split(":")[0] != IMAGE_USER.split(":")[0])

    def on(self, kind: EngineKind) -> ContainerSpec:
        """Return the spec for a kind of engine."""
        return replace(self, kind=kind)

    def for_job(self, session: str) -> ContainerSpec:
        """Return the spec of one job's own container."""
        return replace(self, session=session)

    def for_control(self) -> ContainerSpec:
        """Return the spec of the container that git runs in."""
        return replace(self, control=True)

    def for_place(self, place: str, session: str, repository: str) -> ContainerSpec:
        """Return the spec of the container of one place (`PLACES`) of one job of a repository."""
        return replace(self, place=place, session=session, repository=repository)

    def mounts(self) -> list[Mount]:
        """Return what is mounted, in the order in which it must be."""
        if self.control:
            # One mount, so that a worktree that is made in it can be moved into place.
            return [Mount(self.root, True), Mount(self._path("bin"), False)]
        shown = [Mount(self._path(part), False) for part in READ_ONLY]
        if self.place in (AGENT, SECRET):
            shown.append(Mount(self._path(f"worktrees/{self.session}"), self.edits))
        return [*shown, *(Mount(self._path(part), True) for part in self._writable()), *self._caches()]

    def _caches(self) -> list[Mount]:
        """Return the package caches: of the base those of its repository, else the job's own.

        What installs from a cache checks little of it, so no code of an earlier job may have written it.
        """
        if self.place in (AGENT, SECRET):
            return []
        if self.place == BASE:
            return [Mount(self._path("base/cache"), True, self._path(f"base/caches/{self.repository}"))]
        return [Mount(self._path(f"caches/{self.session}" if self.session else "caches"), True)]

    def _writable(self) -> tuple[str, ...]:
        if self.place == AGENT:
            return (f"agents/{self.session}",)
        if self.place == SECRET:
            return (f"secret/{self.session}",)
        if self.place and self.place != SECRET_WRITES:
            return f"base/worktrees/{self.session}", f"base/home/{self.session}"
        if self.session:
            return f"worktrees/{self.session}", f"home/{self.session}"
        return "worktrees", "home"

    def _path(self, part: str) -> str:
        return posixpath.join(self.root, part)

    @property
    def passwd_file(self) -> str:
        """Return the file that gives the container's user a name."""
        return self._path("state/container.passwd")

    def _namespaces(self) -> list[str]:
        """Return the words for the network, and for users where numbers would not be the host's."""
        words = ["--network", self.network]
        if self.kind.podman and self.network == DEFAULT_NETWORK:
            words = []  # A rootless Podman has another default, which needs no bridge.
        if self.kind.podman and self.kind.rootless:
            words += ["--userns", "keep-id"]
        elif self.kind.remapped:
            words += ["--userns", "host"]
        return words

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Return the capabilities that user 0 of the container keeps."""
        # With a rootless Docker the job's user is user 0, who would have them.
        return () if self.control or self.kind.is_you else SUPERVISOR_CAPABILITIES

    @property
    def main_user(self) -> str:
        """Return the user that the container is made with: the supervisor's, whom no task can signal."""
        return self.user if self.control else SUPERVISOR_USER

    def canonical(self) -> str:
        """Return everything but the image (which is compared by itself) as one text."""
        # `edits` is of containers that end with their runner, and are not compared.
        known = {name: value for name, value in asdict(self).items() if name != "edits"}
        return json.dumps({**known, "image": ""}, sort_keys=True)

    def digest(self) -> str:
        """Return a short digest of the canonical text."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    def run_argv(self, image: str) -> list[str]:
        """Return the command that makes and starts the container from `image` (a digest or an id)."""
        restart = ["--restart", "no" if self.session else "always"]
        words = [*self.engine, "run", "--detach", *restart, *self._settings()]
        return [*words, "--entrypoint", "sleep", image, "infinity"]

    def place_words(self, image: str) -> list[str]:
        """Return the engine's words that start the container of a place; arguments of Python follow."""
        # What its tasks print, secrets not yet taken out, goes to the runner and into no log of the engine's.
        words = ["run", "--rm", "--interactive", "--log-driver", "none", *self._settings()]
        return [*words, "--entrypoint", PYTHON, image]

    def _settings(self) -> list[str]:
        words = [
            "--name", self.container, "--hostname", self.name, "--init",
            "--read-only", "--tmpfs", _TMP, "--tmpfs", _RUN,
            "--cap-drop", "ALL", *(word for name in self.capabilities for word in ("--cap-add", name)),
            "--security-opt", "no-new-privileges", "--pids-limit", str(self.pids),
            "--user", self.main_user, *self._namespaces(),
            "--label", f"{SPEC_LABEL}={self.digest()}", "--label", f"{ROOT_LABEL}={self.root}",
            "--env", "LANG=C.UTF-8", "--env", "SHELL=/bin/bash",
            "--env", f"{USER}={self.user}",
        ]  # fmt: skip
        if self.memory:
            words += ["--memory", self.memory]
        if self.cpus:
            words += ["--cpus", self.cpus]
        for mount in self.mounts():
            words += ["--mount", str(mount)]
        if self.passwd:
            words += ["--mount", f"type=bind,source={self.passwd_file},target=/etc/passwd,readonly"]
        return words


def spec_of(config: Mapping[str, Any], root: str) -> ContainerSpec | None:
    """Return the spec that a worker's configuration asks for; None for a bare worker.

    Raises `NotConfigured` for values that make no sense.
    """
    wanted = config.get("container")
    if not wanted:
        return None
    if not isinstance(wanted, Mapping):
        raise NotConfigured("The worker's `container` setting is not a table.", hint="See docs/container.md.")
    engine = wanted.get("engine") or ["docker"]
    if isinstance(engine, str):
        engine = engine.split()
    isolation = str(wanted.get("isolation") or "worker")
    if isolation not in _ISOLATIONS:
        raise NotConfigured(
            f"The worker's container isolation is {isolation!r}.", hint="Write `worker` or `job`."
        )
    return ContainerSpec(
        root=root,
        image=str(wanted.get("image") or DEFAULT_IMAGE),
        engine=tuple(str(word) for word in engine),
        name=str(wanted.get("name") or CONTAINER),
        isolation=isolation,
        network=str(wanted.get("network") or DEFAULT_NETWORK),
        memory=str(wanted.get("memory") or ""),
        cpus=str(wanted.get("cpus") or ""),
        pids=int(wanted.get("pids") or 8192),
    )


def isolation_of(config: Mapping[str, Any]) -> str:
    """Return what keeps a worker's jobs apart: `none`, `worker` (one for all) or `job` (one each)."""
    wanted = config.get("container")
    if not wanted:
        return "none"
    return str(wanted.get("isolation") or "worker") if isinstance(wanted, Mapping) else "worker"


def bare_id(image: str) -> str:
    """Return an image's id without its algorithm: Docker writes `sha256:`, Podman does not."""
    return image.removeprefix("sha256:")


def faults(spec: ContainerSpec, found: Mapping[str, Any], image_id: str) -> list[str]:
    """Return how a container, as `inspect` shows it, differs from what it must be; empty: it is right.

    The engine's own facts are looked at, not only our label: a container that a user made by hand, or
    changed, is found out.
    """
    host: Mapping[str, Any] = found.get("HostConfig") or {}
    config: Mapping[str, Any] = found.get("Config") or {}
    said = []
    if bare_id(str(found.get("Image") or "")) != bare_id(image_id):
        said.append("it was made from another image")
    if (config.get("Labels") or {}).get(SPEC_LABEL) != spec.digest():
        said.append("it was made with other settings")
    if not host.get("ReadonlyRootfs"):
        said.append("its root file system is writable")
    if host.get("Privileged"):
        said.append("it is privileged")
    added = {str(name).removeprefix("CAP_") for name in host.get("CapAdd") or ()}
    if not added <= set(spec.capabilities) or not host.get("CapDrop"):
        said.append("it has capabilities")
    if not any(str(option).startswith("no-new-privileges") for option in host.get("SecurityOpt") or ()):
        said.append("it may gain privileges")
    if str(config.get("User") or "") != spec.main_user:
        said.append(f"it runs as user {config.get('User') or 'root'!r}")
    there = {
        str(mount.get("Destination")): bool(mount.get("RW"))
        for mount in found.get("Mounts") or ()
        if mount.get("Type") == "bind"
    }
    wanted = {mount.path: mount.writable for mount in spec.mounts()}
    if spec.passwd:
        wanted["/etc/passwd"] = False
    for path in sorted(set(there) | set(wanted)):
        if path not in wanted:
            said.append(f"{path} is mounted")
        elif path not in there:
            said.append(f"{path} is not mounted")
        elif there[path] != wanted[path]:
            said.append(f"{path} is mounted {'writable' if there[path] else 'read-only'}")
    return said


UNSAFE = (
    "its root file system is writable",
    "it is privileged",
    "it has capabilities",
    "it may gain privileges",
)


# The engine's socket, and what earlier versions mounted: what decides about jobs, caches that all jobs share.
_OUT_OF_REACH = re.compile(
    r"\.sock is mounted|/jobs(/\S+)? is mounted|/repos is mounted writable|/cache is mounted"
)


def is_unsafe(said: list[str]) -> bool:
    """Tell whether a difference must not be lived with, even while jobs run."""
    return any(line in UNSAFE or _OUT_OF_REACH.search(line) for line in said)
