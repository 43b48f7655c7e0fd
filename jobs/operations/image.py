"""The image of the container: build it on this machine, compare it with those of the workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.agents import registry as agents
from jobs.agents.gemini import Gemini
from jobs.agents.generic import Generic
from jobs.errors import NotConfigured, UsageError
from jobs.models import Worker
from jobs.operations.progress import Progress
from jobs.operations.workers import get_worker
from jobs.transport.local import LocalTransport
from jobs.workers.container import image
from jobs.workers.container.spec import DEFAULT_IMAGE


@dataclass(frozen=True)
class ImageBuild:
    """What to build. `name`: of the image here. `engine`: words of its command (default: the first found).

    `with_agent`: with Gemini CLI; `more_agents`: names of further agents.
    """

    name: str = DEFAULT_IMAGE
    engine: tuple[str, ...] = ()
    base: str = image.DEFAULT_BASE
    network: str = ""
    with_agent: bool = True
    more_agents: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built, and how many seconds that took."""

    name: str
    image: image.Image
    seconds: float


async def build_image(build: ImageBuild, progress: Progress) -> BuiltImage:
    """Build the image on this machine.

    Raises `UsageError` for an agent that has no package, `NotConfigured` without an engine, `CommandFailed`.
    """
    packages = [_package(name) for name in build.more_agents]
    transport = LocalTransport()
    engine = await image.find_engine(transport, build.engine)
    recipe = await image.read_recipe(transport)
    began = time.monotonic()
    built = await image.build(
        engine,
        recipe,
        build.name,
        base=build.base,
        network=build.network,
        agent=build.with_agent,
        more_agents=packages,
        step=progress,
    )
    return BuiltImage(build.name, built, time.monotonic() - began)


def _package(name: str) -> str:
    """Return the package of an agent."""
    if name in (Gemini.name, Generic.name):
        raise UsageError(
            f"The agent {name!r} cannot be added to the image.",
            hint="`gemini` is in it already; put the program of `generic` into the base image.",
        )
    return agents.get(name).program().package


@dataclass(frozen=True)
class ImageComparison:
    """The image here and those of the workers. `outdated`: why to build the image here again, or empty."""

    name: str
    here: image.Image
    outdated: str
    workers: Sequence[image.Comparison]

    @property
    def differs(self) -> bool:
        """Return whether anything needs to be built or replaced."""
        return bool(self.outdated) or any(each.problem for each in self.workers)


async def compare_images(name: str, engine: Sequence[str] = (), worker: str = "") -> ImageComparison:
    """Compare the image here with that of `worker`, or of every worker with a container.

    Raises `NotFound` for an unknown worker, `NotConfigured` without an engine or an image here.
    """
    workers = [await get_worker(worker)] if worker else await _contained_workers()
    transport = LocalTransport()
    found = await image.find_engine(transport, engine)
    recipe = await image.read_recipe(transport)
    here = await image.look(found, name)
    if here is None:
        raise NotConfigured(
            f"There is no image {name} on this machine to compare with.",
            hint="Build it: `offload fleet image build`.",
        )
    compared = [await image.compare(each, here) for each in workers]
    return ImageComparison(name, here, image.outdated(here, recipe, name), compared)


async def _contained_workers() -> list[Worker]:
    return [row async for row in Worker.objects.order_by("name") if row.config.get("container")]
