"""The sibling container of a bare local worker, where code from elsewhere runs, when an engine has the image.

It is a worker of its own, with a root of its own: what its jobs write (package caches, mirrors) is never
run by jobs of the bare worker, as the user.
"""

from __future__ import annotations

import posixpath
import sys
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.conf import settings

from jobs.errors import OffloadError
from jobs.models import Worker
from jobs.remote.container_commands import CONTAINER
from jobs.states import WorkerState
from jobs.transitions import move_worker
from jobs.workers.connection import connect
from jobs.workers.container.engine import Engine, engines_here
from jobs.workers.container.spec import DEFAULT_IMAGE, ContainerSpec, spec_of
from jobs.workers.records import get_or_create_worker

ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Sibling:
    """What was found: whether there can be a container, why (a clause), and what would change it.

    `command`: the words after `offload` that change it, if that is all.
    """

    contained: bool
    why: str
    remedy: str = ""
    engine: tuple[str, ...] = ()
    command: str = ""


def sibling_name(worker: str) -> str:
    """Return the name of the worker that is the sibling container of a bare one."""
    return f"{worker}-container"


async def find_sibling(worker: Worker) -> Sibling:
    """Tell whether jobs of a bare local worker can run in a container instead; nothing is changed."""
    name = sibling_name(worker.name)
    if settings.OFFLOAD.container == "never":
        allow = "setup --set container=auto"
        return Sibling(False, "the setting `container` is `never`", f"`offload {allow}`.", command=allow)
    if worker.config.get("container") is False:
        return Sibling(False, f"{worker} was added with --no-container")
    if sys.platform != "linux":
        # Elsewhere the engine runs in a virtual machine, through which locks on files do not reach.
        return Sibling(False, "a container is the default on Linux only")
    row = await Worker.objects.filter(name=name).afirst()
    spec = spec_of(row.config, row.root) if row is not None and row.provider == "local" else None
    if row is not None and spec is None:
        return Sibling(False, f"{name} is the name of another worker")
    return await _ask(worker, spec)


async def _ask(worker: Worker, spec: ContainerSpec | None) -> Sibling:
    image = spec.image if spec else DEFAULT_IMAGE
    answers = ""
    async with connect(worker) as line:
        for words in [spec.engine] if spec else engines_here():
            engine = Engine(line.transport, ContainerSpec(root="/", engine=words))
            try:
                found = await engine.ask(
                    "image", "inspect", "--format", "{{.Id}}", image, deadline=ANSWER_SECONDS
                )
            except OffloadError:
                continue
            if found.exit_status == 0:
                return Sibling(True, f"{_name(words)} has the image {image}", engine=words)
            answers = answers or _name(words)
    if answers:
        build = "Build the image with `manage.py fleet image build`; then a container is used."
        return Sibling(False, f"{answers} has no image {image}", build, command="fleet image build")
    return Sibling(False, "no container engine answers here", "Install Docker or Podman for a container.")


def _name(words: tuple[str, ...]) -> str:
    """Return what a person calls an engine, of `sudo -n docker` or `/opt/bin/podman -r`."""
    names = [posixpath.basename(word) for word in words]
    return next((name for name in names if name in ("docker", "podman")), words[0])


def _ensure(worker: Worker, sibling: Sibling) -> Worker:
    name = sibling_name(worker.name)
    container = {
        "image": DEFAULT_IMAGE,
        "engine": list(sibling.engine),
        "name": f"{CONTAINER}-{worker.name}",
    }
    root = f"{worker.root}-container"
    row, created = get_or_create_worker(name, "local", root, {"container": container})
    if created:
        move_worker(row.id, WorkerState.READY, detail=f"The sibling container of {worker}.")
        row.refresh_from_db()
    return row


ensure_sibling = sync_to_async(_ensure)
