"""The image of the container: build it on this machine, compare it with those of the workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.errors import NotConfigured
from jobs.models import Worker
from jobs.operations.progress import Progress
from jobs.operations.workers import get_worker
from jobs.transport.local import LocalTransport
from jobs.workers.container import image
from jobs.workers.container.spec import DEFAULT_IMAGE


@dataclass(frozen=True)
class ImageBuild:
    """What to build. `name`: of the image here. `engine`: words of its command (default: the first found)."""

    name: str = DEFAULT_IMAGE
    engine: tuple[str, ...] = ()
    base: str = image.DEFAULT_BASE
    network: str = ""
    with_agent: bool = True


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built, and how many seconds that took."""

    name: str
    image: image.Image
    seconds: float


async def build_image(build: ImageBuild, progress: Progress) -> BuiltImage:
    """Build the image on this machine. Raises `NotConfigured` without an engine, `CommandFailed`."""
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
        step=progress,
    )
    return BuiltImage(build.name, built, time.monotonic() - began)


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
