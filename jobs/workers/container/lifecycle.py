"""The life of a worker's container: made, verified, started, made again when it is stale and idle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.errors import NotConfigured, WorkerUnavailable
from jobs.remote.layout import Layout
from jobs.transport.base import Transport
from jobs.workers.container.engine import ENGINE_DEADLINE, Engine, kind_of, name_of
from jobs.workers.container.spec import (
    OWN,
    READ_ONLY,
    ROOT_LABEL,
    SPEC_LABEL,
    WRITABLE,
    ContainerSpec,
    faults,
    is_unsafe,
)

PULL_DEADLINE = 1800.0
_LOOK_SECONDS = 0.2
# Runs on the host. Makes the directories that are mounted, before the engine would make them as root, and
# gives them to the container's user when the host's user is root. Prints who owns them.
_LAY_OUT = """
import json, os, sys
root, passwd = sys.argv[1:3]
me, group = os.getuid(), os.getgid()
own = (1000, 1000) if me == 0 else (me, group)
for part in [""] + sys.argv[3:]:
    path = os.path.join(root, part) if part else root
    os.makedirs(path, mode=0o755 if me == 0 else 0o700, exist_ok=True)
    if part == "bin" or (me == 0 and part == "state"):
        os.chmod(path, 0o755)  # user 0 of a container, who has no power over files, runs what is in bin
    elif me == 0 and part and os.stat(path).st_uid == 0:
        os.chown(path, *own)
line = "maintainer:x:%d:%d::%s:/bin/bash\\n" % (own[0], own[1], "/tmp")
if own[0] != 1000 and passwd:
    text = "root:x:0:0:root:/root:/bin/sh\\n" + line
    if not os.path.exists(passwd) or open(passwd).read() != text:
        with open(passwd, "w") as file:
            file.write(text)
        os.chmod(passwd, 0o644)
print(json.dumps({"uid": own[0], "gid": own[1], "root": me == 0}))
"""


@dataclass(frozen=True)
class Found:
    """A container that is ready.

    `image`: what runs, by digest; `note`: what a person should know; `image_id` and `spec`: what containers
    of the same kind are made from.
    """

    image: str
    note: str = ""
    image_id: str = ""
    spec: ContainerSpec | None = None


async def lay_out(engine: Engine, layout: Layout, spec: ContainerSpec) -> ContainerSpec:
    """Make the directories on the host that are mounted; return the spec for this engine and its user.

    Raises `NotConfigured` for an engine whose containers could not use those directories.
    """
    spec = spec.on(kind_of(await engine.info()))
    argv = [layout.python, "-c", _LAY_OUT, spec.root, "" if spec.kind.is_you else spec.passwd_file]
    done = await engine.transport.run([*argv, *READ_ONLY, *WRITABLE, *OWN])
    owner = json.loads(done.stdout)
    if spec.kind.rootless and owner["root"]:
        raise NotConfigured(
            "The container engine is a rootless one of another user, and the worker's files are root's.",
            hint="Use the engine of the user whom the jobs run as: log in there as that user.",
        )
    return spec.owned_by(f"{owner['uid']}:{owner['gid']}")


async def image_of(engine: Engine, spec: ContainerSpec) -> dict[str, Any]:
    """Return the image as the engine knows it, pulled if it names a registry. Raises `NotConfigured`."""
    image = await engine.inspect("image", spec.image)
    why = ""
    if image is None and ("/" in spec.image or "@" in spec.image):
        pulled = await engine.ask("pull", "--quiet", spec.image, deadline=PULL_DEADLINE)
        image = await engine.inspect("image", spec.image)
        said = pulled.stderr.decode(errors="replace").strip().splitlines()
        why = f" Pulling it failed: {said[-1] if said else f'exit status {pulled.exit_status}'}"
    if image is None:
        raise NotConfigured(
            f"The image {spec.image} is not on the worker.{why}",
            hint="Build it there with `manage.py fleet image build`, or name one that can be pulled.",
        )
    return image


async def ensure(
    transport: Transport,
    layout: Layout,
    spec: ContainerSpec,
    *,
    is_idle: bool,
    step: Callable[[str], None] = lambda text: None,
) -> Found:
    """Bring the worker's containers to what they must be, and return what runs.

    Those are the control container and, unless each job has its own, the one of the jobs.

    `is_idle`: no job runs in it, so it may be made again. A container that is only stale is kept while jobs
    run; one that is unsafe is refused. Raises `NotConfigured` (no engine, no image), `WorkerUnavailable`.
    """
    engine = Engine(transport, spec)
    spec = await lay_out(engine, layout, spec)
    image = await image_of(engine, spec)
    found = await _ensure_one(engine, spec.for_control(), image, is_idle, step)
    if spec.isolation != "job":
        found = await _ensure_one(engine, spec, image, is_idle, step)
    return replace(found, image_id=found.image_id or str(image["Id"]), spec=spec)


async def _ensure_one(
    engine: Engine, spec: ContainerSpec, image: Mapping[str, Any], is_idle: bool, step: Callable[[str], None]
) -> Found:
    found = await engine.inspect("container", spec.container)
    note = ""
    if found is not None:
        _refuse_anothers(spec, found)
        said = faults(spec, found, str(image["Id"]))
        if said and is_idle:
            step(f"Making the container {spec.container} again: {said[0]}")
            await engine.must(f"Removing the container {spec.container}", "rm", "--force", spec.container)
            found = None
        elif is_unsafe(said):
            raise WorkerUnavailable(
                f"The container {spec.container} is not safe to use: {', '.join(said)}.",
                hint="Wait for its jobs to end (or cancel them); then it is made again by itself.",
            )
        elif said:
            note = f"The container is kept while jobs run in it, although {said[0]}."
    if found is None:
        step(f"Making the container {spec.container}")
        await _make(engine, spec, str(image["Id"]))
    elif not (found.get("State") or {}).get("Running"):
        step(f"Starting the container {spec.container}")
        await engine.must(f"Starting the container {spec.container}", "start", spec.container)
    elif (found.get("State") or {}).get("Paused"):
        await engine.must(f"Resuming the container {spec.container}", "unpause", spec.container)
    if found is not None and note:
        running = await engine.inspect("image", str(found.get("Image")))
        return Found(name_of(running) if running else str(found.get("Image")), note, str(found.get("Image")))
    return Found(name_of(image), note)


def _refuse_anothers(spec: ContainerSpec, found: Mapping[str, Any]) -> None:
    """Raise `NotConfigured` when the container runs for the jobs of another worker of the same engine."""
    root = ((found.get("Config") or {}).get("Labels") or {}).get(ROOT_LABEL)
    if root and root != spec.root and (found.get("State") or {}).get("Running"):
        raise NotConfigured(
            f"The container {spec.container} runs for another worker, whose root is {root}.",
            hint=f"Give this worker's container another name (`name` in its settings), or remove that one: "
            f"`{' '.join(spec.engine)} rm -f {spec.container}`.",
        )


async def _make(engine: Engine, spec: ContainerSpec, image_id: str) -> None:
    done = await engine.ask(*spec.run_argv(image_id)[len(spec.engine) :])
    if done.exit_status == 0:
        return
    said = done.stderr.decode(errors="replace").strip()
    if "already in use" in said:
        # Another launch makes it at this moment: its name is taken before it can be seen.
        if await _made_by_another(engine, spec):
            return
    elif await engine.inspect("container", spec.container) is not None:
        # Made but not started: nothing half-made stays.
        await engine.ask("rm", "--force", spec.container)
    hint = "`manage.py doctor` looks at the worker's container engine."
    if "init binary not found" in said:
        hint = "Install the engine's init there: the package `catatonit` (Podman) or `tini` (Docker)."
    raise WorkerUnavailable(
        f"Making the container {spec.container} failed: {(said or 'no reason given').splitlines()[-1]}",
        hint=hint,
    )


async def _made_by_another(engine: Engine, spec: ContainerSpec) -> bool:
    end = asyncio.get_running_loop().time() + ENGINE_DEADLINE
    while asyncio.get_running_loop().time() < end:
        found = await engine.inspect("container", spec.container)
        if found is not None and (found.get("State") or {}).get("Running"):
            labels = (found.get("Config") or {}).get("Labels") or {}
            return bool(labels.get(SPEC_LABEL) == spec.digest())
        await asyncio.sleep(_LOOK_SECONDS)
    return False


async def ensure_job(
    transport: Transport, layout: Layout, spec: ContainerSpec, session: str, paths: Sequence[str]
) -> Found:
    """Bring up the container of one job (isolation `job`), from the same image and with the same limits.

    `paths`: directories to make first, so that they can be mounted. The container of an earlier start of
    the same job is made again unless it still runs.
    """
    engine = Engine(transport, spec)
    spec = await lay_out(engine, layout, spec)
    job = spec.for_job(session)
    image = await image_of(engine, job)
    made = [f"{spec.root}/{path}" for path in paths]
    await transport.run([*spec.engine, "exec", spec.inside.control, "mkdir", "-p", "-m", "0700", *made])
    found = await engine.inspect("container", job.container)
    if found is not None:
        running = (found.get("State") or {}).get("Running")
        if running and not faults(job, found, str(image["Id"])):
            return Found(name_of(image))
        await engine.must(f"Removing the container {job.container}", "rm", "--force", job.container)
    await _make(engine, job, str(image["Id"]))
    return Found(name_of(image))


async def remove_job(transport: Transport, spec: ContainerSpec, session: str) -> None:
    """Remove the container of one job. Absent is success."""
    job = spec.for_job(session)
    done = await Engine(transport, job).ask("rm", "--force", job.container)
    said = done.stderr.lower()
    if done.exit_status != 0 and b"no such container" not in said and b"no container with name" not in said:
        raise WorkerUnavailable(
            f"Removing the container {job.container} failed: {done.stderr.decode(errors='replace').strip()}"
        )
