"""`--simulate --image`: the jobs of a simulated machine run in a container of this machine's engine."""

from __future__ import annotations

from typing import Any

from jobs.operations import simulation
from jobs.remote.container_commands import CONTAINER
from jobs.remote.layout import safe_part, socket_for_root
from jobs.simulator import containers
from jobs.transport.local import LocalTransport
from jobs.workers.container.image import find_engine
from jobs.workers.container.lifecycle import image_of
from jobs.workers.container.spec import ROOT_LABEL, spec_of


async def planned(name: str, image: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a simulated worker's `container` setting, and what its machine's metadata says of that.

    Raises `NotConfigured` without an engine, or without the image there or in a registry;
    `WorkerUnavailable` when the engine does not answer.
    """
    engine = await find_engine(LocalTransport())
    root = simulation.root(name)
    # All simulated machines share one engine, with those of other homes: the name is that of the root.
    digest = socket_for_root(root, "").rpartition("-")[2]
    config = {
        "image": image,
        "engine": list(engine.words),
        "name": f"{CONTAINER}-{safe_part(name, limit=20)}-{digest}",
    }
    spec = spec_of({"container": config}, root)
    assert spec is not None  # noqa: S101 - asked for above
    await image_of(engine, spec)
    return config, containers.metadata(spec.engine, spec.container, f"{ROOT_LABEL}={root}")
