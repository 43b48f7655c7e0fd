"""`manage.py fleet image`: build the image of the worker's container here, compare it with the workers'."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from jobs.cli.output import colour, plain, print_json, say
from jobs.errors import NotConfigured, NotFound, UsageError
from jobs.formats import format_duration
from jobs.models import Worker
from jobs.transport.local import LocalTransport
from jobs.workers.container import image
from jobs.workers.container.spec import DEFAULT_IMAGE


def add_image_arguments(parser: CommandParser) -> None:
    """Declare the options of `fleet image`."""
    parser.add_argument("what", choices=["build", "check"], help="build it here; or compare digests")
    parser.add_argument("name", nargs="?", help="check: the worker (default: each that has a container)")
    parser.add_argument("--image", default=DEFAULT_IMAGE, help="the image's name here (default: %(default)s)")
    parser.add_argument("--engine", help="docker, 'sudo -n docker' or podman (default: what answers)")
    parser.add_argument(
        "--base", default=image.DEFAULT_BASE, help="build: a Debian 12 (default: %(default)s)"
    )
    parser.add_argument("--network", default="", help="build: the engine's network for it, as `host`")
    parser.add_argument("--without-agent", action="store_true", help="build: leave the agent out")


async def image_verb(options: Mapping[str, Any]) -> int:
    """Carry `fleet image` out."""
    return await (_build(options) if options["what"] == "build" else _check(options))


async def _build(options: Mapping[str, Any]) -> int:
    if options["name"]:
        raise UsageError(
            f"`fleet image build` takes no worker ({options['name']!r}): it builds on this machine.",
            hint="--image gives the image another name.",
        )
    transport = LocalTransport()
    engine = await image.find_engine(transport, shlex.split(options["engine"] or ""))
    recipe = await image.read_recipe(transport)
    began = time.monotonic()
    built = await image.build(
        engine,
        recipe,
        options["image"],
        base=options["base"],
        network=options["network"],
        agent=not options["without_agent"],
        step=lambda text: say(plain(text)),
    )
    took = time.monotonic() - began
    if options["json"]:
        print_json("image", {"name": options["image"], **built.as_json(), "seconds": round(took, 1)})
        return 0
    print(f"Built {options['image']} in {format_duration(took)}.")
    _print_image(built)
    return 0


def _print_image(found: image.Image) -> None:
    facts = {key: value or "unknown" for key, value in found.as_json().items()}
    print(f"    {colour('digest', 'dim')}    {plain(facts['digest'])}")
    print(f"    {colour('version', 'dim')}   {plain(facts['version'])}, revision {plain(facts['revision'])}")
    print(f"    {colour('base', 'dim')}      {plain(facts['base'])}")


async def _check(options: Mapping[str, Any]) -> int:
    """Compare; the exit code is that of `NotConfigured` when anything differs."""
    transport, name = LocalTransport(), options["image"]
    workers = await _workers(options["name"])
    engine = await image.find_engine(transport, shlex.split(options["engine"] or ""))
    recipe = await image.read_recipe(transport)
    here = await image.look(engine, name)
    if here is None:
        raise NotConfigured(
            f"There is no image {name} on this machine to compare with.",
            hint="Build it: `manage.py fleet image build`.",
        )
    old = image.outdated(here, recipe, name)
    compared = [await image.compare(worker, here) for worker in workers]
    differs = bool(old) or any(each.problem for each in compared)
    if options["json"]:
        workers_json = [
            {
                "worker": each.worker,
                "image": each.has.as_json() if each.has else None,
                "runs": each.runs or None,
                "matches": not each.problem,
                "problem": each.problem or None,
            }
            for each in compared
        ]
        print_json("image", {"name": name, **here.as_json(), "problem": old or None, "workers": workers_json})
        return NotConfigured.exit_code if differs else 0
    print(f"{colour(name, 'bold')} here")
    _print_image(here)
    if old:
        say(f"{old} Build it again: `manage.py fleet image build`.")
    for each in compared:
        if each.problem:
            say(f"{plain(each.problem)} {each.remedy}")
        else:
            runs = "its container runs it" if each.runs else "it has no container yet"
            print(f"{colour(each.worker, 'bold')}  the same image; {runs}.")
    if not compared:
        print("No worker has a container to compare with.")
    return NotConfigured.exit_code if differs else 0


async def _workers(name: str | None) -> list[Worker]:
    if name:
        worker = await Worker.objects.filter(name=name).afirst()
        if worker is None:
            raise NotFound(f"There is no worker called {name!r}.", hint="See `manage.py fleet ls`.")
        return [worker]
    return [worker async for worker in Worker.objects.order_by("name") if worker.config.get("container")]
