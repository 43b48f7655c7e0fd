"""The image of the worker's container: built here from the Dockerfile, compared with what runs."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import invocation
from jobs.errors import CommandFailed, NotConfigured, OffloadError, TimedOut
from jobs.installation import gcp_directory
from jobs.models import Worker
from jobs.transport.base import Transport
from jobs.workers.connection import connect
from jobs.workers.container.engine import Engine, engines_here, name_of
from jobs.workers.container.spec import ContainerSpec

DOCKERFILE = ".gcp/Dockerfile.maintainer"
DEFAULT_BASE = "docker.io/library/debian:bookworm-slim"
DOCKERFILE_LABEL = "offload.dockerfile"
VERSION_LABEL = "org.opencontainers.image.version"
REVISION_LABEL = "org.opencontainers.image.revision"
BASE_LABEL = "org.opencontainers.image.base.digest"
BUILD_DEADLINE = 3600.0
TAIL_LINES = 15
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Recipe:
    """What an image is built from. `digest`: SHA-256 of the Dockerfile; `revision`: the commit."""

    dockerfile: Path
    digest: str
    version: str
    revision: str


@dataclass(frozen=True)
class Image:
    """An image as one engine has it. `digests`: the names by which registries know it."""

    id: str
    name: str
    digests: tuple[str, ...]
    labels: Mapping[str, str]

    def same_as(self, other: Image) -> bool:
        """Tell whether both are one image: the same id, or the same digest in a registry."""
        return self.id == other.id or bool(set(self.digests) & set(other.digests))

    def as_json(self) -> dict[str, Any]:
        """Return the image as `--json` shows it."""
        return {
            "id": self.id,
            "digest": self.name,
            "version": self.labels.get(VERSION_LABEL),
            "revision": self.labels.get(REVISION_LABEL),
            "base": self.labels.get(BASE_LABEL),
            "dockerfile": self.labels.get(DOCKERFILE_LABEL),
        }


@dataclass(frozen=True)
class Comparison:
    """What one worker has and runs. `problem` is empty when that is the image that is here."""

    worker: str
    has: Image | None
    runs: str
    problem: str = ""
    remedy: str = ""


async def read_recipe(transport: Transport) -> Recipe:
    """Return what the image is built from: the Dockerfile of this installation, its digest, our version."""
    dockerfile = gcp_directory() / Path(DOCKERFILE).name
    digest = hashlib.sha256(dockerfile.read_bytes()).hexdigest()
    head = await transport.run(["git", "-C", str(dockerfile.parent), "rev-parse", "HEAD"], check=False)
    revision = head.stdout.decode().strip() if head.exit_status == 0 else "unknown"
    return Recipe(dockerfile, digest, invocation.version(), revision)


async def find_engine(transport: Transport, words: Sequence[str] = ()) -> Engine:
    """Return the engine of `words`, or the first one that answers on this machine.

    Raises `NotConfigured` when there is none or we may not use it, `WorkerUnavailable` when it is stopped.
    """
    error: OffloadError | None = None
    for candidate in [tuple(words)] if words else engines_here():
        engine = Engine(transport, ContainerSpec(root="/", engine=candidate))
        try:
            done = await engine.ask("version")
        except OffloadError as refused:
            error = error or refused
            continue
        if done.exit_status == 0:
            return engine
        said = done.stderr.decode(errors="replace").strip().splitlines()
        error = error or NotConfigured(
            f"`{' '.join(candidate)} version` failed: {said[-1] if said else f'exit {done.exit_status}'}",
            hint="Start the container engine, or name another one with --engine.",
        )
    if isinstance(error, NotConfigured):
        raise NotConfigured(
            f"There is no container engine to use on this machine. {error.message}",
            hint="Install Docker or Podman, start it, or name the command with --engine.",
        ) from error
    raise error or NotConfigured("There is no container engine on this machine.")


async def look(engine: Engine, name: str) -> Image | None:
    """Return an image by name, id or digest; None when the engine has none."""
    found = await engine.inspect("image", name)
    if found is None:
        return None
    labels = (found.get("Config") or {}).get("Labels") or {}
    return Image(_id(found["Id"]), name_of(found), tuple(found.get("RepoDigests") or ()), labels)


def _id(text: str) -> str:
    """Return an image's id as Docker writes it; Podman leaves the algorithm out."""
    return text if not text or ":" in text else f"sha256:{text}"


async def pin_base(engine: Engine, base: str) -> str:
    """Return the base image by digest (by name when no registry knows it), pulled when it is not here.

    Raises `NotConfigured` when it is neither here nor to be had.
    """
    found = await look(engine, base)
    if found is None:
        pulled = await engine.ask("pull", "--quiet", base, deadline=1800.0)
        found = await look(engine, base)
        if found is None:
            said = pulled.stderr.decode(errors="replace").strip().splitlines()
            raise NotConfigured(
                f"The base image {base} is not here, and pulling it failed: "
                f"{said[-1] if said else 'no reason given'}",
                hint="Check the network and the name, or name a Debian image that is here with --base.",
            )
    return found.digests[0] if found.digests else base


def build_argv(
    words: Sequence[str],
    recipe: Recipe,
    name: str,
    base: str,
    *,
    network: str = "",
    agent: bool = True,
    more_agents: Sequence[str] = (),
) -> list[str]:
    """Return the command that builds the image `name` on `base`.

    `agent`: with Gemini CLI; `more_agents`: packages of npm of further agents, with their versions.
    """
    arguments = {
        "BASE_IMAGE": base,
        "BASE_DIGEST": base,
        "VERSION": recipe.version,
        "REVISION": recipe.revision,
        "DOCKERFILE_SHA256": recipe.digest,
        **({} if agent else {"WITH_AGENT": "0"}),
        **({"MORE_AGENTS": " ".join(more_agents)} if more_agents else {}),
    }
    argv = [*words, "build", "--tag", name, "--file", str(recipe.dockerfile)]
    for key, value in arguments.items():
        argv += ["--build-arg", f"{key}={value}"]
    for key in _PROXIES:
        # Without a value the client takes it from its environment, and it stays out of the image's history.
        argv += ["--build-arg", key] if os.environ.get(key) else []
    if network:
        argv += ["--network", network]
    return [*argv, str(recipe.dockerfile.parent)]


async def build(
    engine: Engine,
    recipe: Recipe,
    name: str,
    *,
    base: str = DEFAULT_BASE,
    network: str = "",
    agent: bool = True,
    more_agents: Sequence[str] = (),
    step: Callable[[str], None] = lambda text: None,
    deadline: float = BUILD_DEADLINE,
) -> Image:
    """Build the image and give it `name`. A failed build leaves what had the name before.

    `step` is told what the engine builds, line by line. Raises `CommandFailed` with the last lines,
    `TimedOut`, and what `pin_base` raises.
    """
    pinned = await pin_base(engine, base)
    argv = build_argv(
        engine.words, recipe, name, pinned, network=network, agent=agent, more_agents=more_agents
    )
    last: deque[str] = deque(maxlen=TAIL_LINES)
    try:
        async with asyncio.timeout(deadline), await engine.transport.spawn(argv) as process:
            async for line in process.lines():
                text = line.decode(errors="replace").rstrip()
                last.append(text)
                if text.lower().startswith("step "):
                    step(text)
            status = await process.wait()
            said = process.stderr_tail.decode(errors="replace").strip()
    except TimeoutError as error:
        raise TimedOut(
            f"Building {name} failed: it did not end within {deadline:g} s and was stopped.",
            hint="Run it again: what was built so far is cached.",
        ) from error
    if status != 0:
        tail = "\n".join([*last, *said.splitlines()][-TAIL_LINES:])
        raise CommandFailed(
            f"Building {name} from {recipe.dockerfile} failed with exit status {status}. "
            f"Its last lines:\n{tail}",
            exit_status=status,
            stderr=said.encode(),
            hint="Repair what they report and build again: the steps before it are cached.",
        )
    built = await look(engine, name)
    if built is None:
        raise CommandFailed(
            f"Building {name} ended well, but `{' '.join(engine.words)}` has no such image.",
            exit_status=0,
            hint="Look at it by hand: is --engine the engine that was meant?",
        )
    return built


def outdated(image: Image, recipe: Recipe, name: str) -> str:
    """Return how the image that is here differs from its Dockerfile; empty: it was built from it."""
    label = image.labels.get(DOCKERFILE_LABEL, "")
    if label == recipe.digest:
        return ""
    origin = f"the Dockerfile {label[:12]}" if label else "no Dockerfile of ours"
    return f"{name} here was built from {origin}, and {DOCKERFILE} is now {recipe.digest[:12]}."


def judge(worker: str, wanted: str, here: Image, has: Image | None, runs: str) -> Comparison:
    """Compare what a worker has and runs (an id; empty: no container) with what is here. Pure."""
    send = f"Send it: `docker save {wanted} | ssh {worker} docker load`, or push it and name it by digest."
    if has is None:
        return Comparison(worker, None, runs, f"{worker} has no image {wanted}.", send)
    if not here.same_as(has):
        problem = f"{worker} has {wanted} as {has.name}, and here it is {here.name}."
        return Comparison(worker, has, runs, problem, send)
    if runs and runs != has.id:
        problem = f"The container on {worker} runs {runs}, and {wanted} is now {has.id}."
        return Comparison(worker, has, runs, problem, "It is made again when no job runs in it.")
    return Comparison(worker, has, runs)


async def compare(worker: Worker, here: Image) -> Comparison:
    """Ask a worker for its image and for what its container runs. An error of the line is a problem too."""
    try:
        async with connect(worker) as line:
            if line.container is None:
                raise NotConfigured(f"{worker.name} has no container.", hint="Jobs run on it as they are.")
            engine = Engine(line.transport, line.container)
            has = await look(engine, line.container.image)
            container = await engine.inspect("container", line.container.container) or {}
            runs = _id(str(container.get("Image") or ""))
            return judge(worker.name, line.container.image, here, has, runs)
    except OffloadError as error:
        return Comparison(worker.name, None, "", error.message, error.hint)
