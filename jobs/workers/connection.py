"""From a worker's row to a line, a layout and a runner client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from jobs.errors import HostKeyMismatch, MachineDown, OffloadError
from jobs.models import Worker
from jobs.providers import registry
from jobs.providers.base import Instance, InstanceState, WorkerProvider
from jobs.remote.client import RunnerClient
from jobs.remote.layout import Layout, socket_for_root
from jobs.simulator import running
from jobs.states import WorkerState
from jobs.transport import pool
from jobs.transport.base import Transport
from jobs.transport.endpoint import Endpoint
from jobs.workers.container.spec import ContainerSpec, spec_of
from jobs.workers.home import home_id
from jobs.workers.ownership import machine_of
from jobs.workers.records import set_row
from jobs.workers.routes import FALLS_THROUGH, way_to

# After so long without an answer the provider is asked whether the machine is up at all.
SLOW_SECONDS = 3.0
_MAY_HAVE_MOVED = (*FALLS_THROUGH, HostKeyMismatch)


@dataclass(frozen=True)
class Connection:
    """An open line to one worker."""

    worker: Worker
    transport: Transport
    layout: Layout
    client: RunnerClient
    container: ContainerSpec | None = None


def provider_config(worker: Worker) -> dict[str, Any]:
    """Return what a provider gets to know of this worker."""
    home = settings.OFFLOAD.home
    config = {**worker.config, **worker.facts, "name": worker.name, "root": worker.root, "home": str(home)}
    if config.get("simulated"):
        config["endpoint"] = running.read(home)[0]
    # Only what is made carries the id: a home without one keeps no job here from running.
    return {**config, "home_id": home_id(home)} if worker.provider in registry.CLOUDS else config


def provider_of(worker: Worker) -> WorkerProvider:
    """Return the provider that answers for this worker."""
    return registry.make(worker.provider, provider_config(worker))


def layout_of(worker: Worker) -> Layout:
    """Return where things are on this worker."""
    if worker.provider == "local":
        socket = socket_for_root(worker.root, settings.OFFLOAD.default_worker_root)
        # The interpreter behind our virtual environment: it is there, and it is new enough.
        python = getattr(sys, "_base_executable", None) or sys.executable
        return Layout(root=worker.root, tmux_socket=worker.config.get("tmux_socket", socket), python=python)
    return Layout(
        root=worker.root,
        tmux_socket=worker.config.get("tmux_socket", "offload"),
        python=worker.config.get("python", "python3"),
        tmux=worker.config.get("tmux", "tmux"),
        git=worker.config.get("git", "git"),
    )


@asynccontextmanager
async def connect(worker: Worker) -> AsyncIterator[Connection]:
    """Open (or share) the line to a worker. Raises an error of the line, or `MachineDown`."""
    provider = provider_of(worker)
    async with pool.borrow(await _endpoint_of(worker, provider)) as transport:
        layout = layout_of(worker)
        container = spec_of(worker.config, worker.root)
        client = RunnerClient(transport, layout, container.inside if container else None)
        yield Connection(worker, transport, layout, client, container)


async def _endpoint_of(worker: Worker, provider: WorkerProvider) -> Endpoint:
    """Return where the worker's machine answers.

    A provider is asked when the machine's address is not known, does not answer, or answers with another
    host key; and when the answer takes long: a machine that is down gives none.
    """
    known = _known_machine(worker)
    if known is None:
        return await way_to(worker, provider, await _running_machine(worker, provider))
    reaching = asyncio.ensure_future(_reach(worker, provider, known))
    try:
        await asyncio.wait({reaching}, timeout=SLOW_SECONDS)
        if reaching.done() and not isinstance(reaching.exception(), _MAY_HAVE_MOVED):
            return reaching.result()
        try:
            instance = await _running_machine(worker, provider)
        except MachineDown:
            raise
        except OffloadError:
            return await reaching  # what the machine itself answers says more
        if provider.ways(instance) == provider.ways(known):
            return await reaching
        return await way_to(worker, provider, instance)
    finally:
        reaching.cancel()
        await asyncio.wait({reaching})


async def _reach(worker: Worker, provider: WorkerProvider, instance: Instance) -> Endpoint:
    endpoint = await way_to(worker, provider, instance)
    await pool.reach(endpoint)
    return endpoint


def _known_machine(worker: Worker) -> Instance | None:
    """Return the worker's machine as it was reached last; None when it may be down, or is not known."""
    address = worker.facts.get("address")
    if worker.state != WorkerState.READY or not isinstance(address, dict):
        return None
    return Instance(worker.name, InstanceState.RUNNING, data=address)


async def _running_machine(worker: Worker, provider: WorkerProvider) -> Instance:
    """Ask the provider for the worker's machine, and save its address. Raises `MachineDown`."""
    instance = await machine_of(worker, provider)
    if instance is None:
        raise MachineDown(
            f"Connecting to the worker {worker.name} failed: its provider knows no such machine.",
            hint="See `manage.py fleet ls`.",
        )
    if instance.state not in (InstanceState.RUNNING, InstanceState.CREATING):
        # Said at once: on the line there may never be an answer.
        raise MachineDown(
            f"Connecting to the worker {worker.name} failed: its machine is {instance.state.value}. "
            f"{instance.detail}".rstrip(),
            hint=f"Starting a job there starts it; so does `manage.py fleet start {worker.name}`.",
        )
    address = dict(provider.address(instance))
    if address and address != worker.facts.get("address") and worker.id is not None:
        worker.facts = (await set_row(worker, address=address)).facts
    return instance
