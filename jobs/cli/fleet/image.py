"""`offload fleet image build|check`: build the container image, or compare it with the workers'."""

from __future__ import annotations

import shlex

from jobs import operations
from jobs.cli.output import colour, plain, print_json, say
from jobs.cli.request import Request
from jobs.errors import NotConfigured, UsageError
from jobs.formats import format_duration
from jobs.operations import ImageBuild
from jobs.workers.container.image import Image


async def run(request: Request) -> int:
    """Build or compare."""
    what, *names = request.words
    return await (_build(request, names) if what == "build" else _check(request, names))


async def _build(request: Request, names: list[str]) -> int:
    if names:
        raise UsageError(
            f"`fleet image build` takes no worker ({names[0]!r}): it builds on this machine.",
            hint="--image gives the image another name.",
        )
    usual = ImageBuild()
    build = ImageBuild(
        name=request.image or usual.name,
        engine=_engine(request),
        base=request.base or usual.base,
        network=request.network,
        with_agent=not request.without_agent,
        more_agents=tuple(filter(None, (request.with_agents or "").split(","))),
    )
    built = await operations.build_image(build, lambda text: say(plain(text)))
    if request.json:
        seconds = round(built.seconds, 1)
        print_json("image", {"name": built.name, **built.image.as_json(), "seconds": seconds})
        return 0
    print(f"Built {built.name} in {format_duration(built.seconds)}.")
    _print_image(built.image)
    return 0


async def _check(request: Request, names: list[str]) -> int:
    name = request.image or ImageBuild().name
    found = await operations.compare_images(name, _engine(request), next(iter(names), ""))
    code = NotConfigured.exit_code if found.differs else 0
    if request.json:
        workers = [
            {
                "worker": each.worker,
                "image": each.has.as_json() if each.has else None,
                "runs": each.runs or None,
                "matches": not each.problem,
                "problem": each.problem or None,
            }
            for each in found.workers
        ]
        here = {"name": name, **found.here.as_json(), "problem": found.outdated or None}
        print_json("image", {**here, "workers": workers})
        return code
    print(f"{colour(name, 'bold')} here")
    _print_image(found.here)
    if found.outdated:
        say(f"{found.outdated} Build it again: `offload fleet image build`.")
    for each in found.workers:
        if each.problem:
            say(f"{plain(each.problem)} {each.remedy}")
        else:
            runs = "its container runs it" if each.runs else "it has no container yet"
            print(f"{colour(each.worker, 'bold')}  the same image; {runs}.")
    if not found.workers:
        print("No worker has a container to compare with.")
    return code


def _engine(request: Request) -> tuple[str, ...]:
    return tuple(shlex.split(request.engine or ""))


def _print_image(image: Image) -> None:
    facts = {key: value or "unknown" for key, value in image.as_json().items()}
    print(f"    {colour('digest', 'dim')}    {plain(facts['digest'])}")
    print(f"    {colour('version', 'dim')}   {plain(facts['version'])}, revision {plain(facts['revision'])}")
    print(f"    {colour('base', 'dim')}      {plain(facts['base'])}")
