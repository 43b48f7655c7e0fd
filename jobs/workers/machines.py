"""What may be done with a worker's machine, and what its row says of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from jobs.errors import NoCapacity, Refused, UsageError
from jobs.models import Worker
from jobs.providers import registry
from jobs.providers.base import CloudProvider, Instance, InstanceState, Resource
from jobs.states import WORKER_MOVES, WorkerState
from jobs.transitions import move_worker
from jobs.workers import cloud_init
from jobs.workers.connection import provider_config
from jobs.workers.records import is_newer
from jobs.workers.waiting import Seen, wait_until

Step = Callable[[str], None]

# Seconds. Compute Engine makes, starts and deletes in 10 to 60 s; a stop waits for the guest, up to 120 s.
RUNNING_DEADLINE = 300.0
STOPPED_DEADLINE = 300.0
GONE_DEADLINE = 300.0
ON_REQUEST = "Stopped on request."


def silent(text: str) -> None:
    """Hear a step and say nothing."""


def cloud_of(worker: Worker, doing: str) -> CloudProvider:
    """Return the provider of a worker whose machine Offload makes. Raises `Refused` for any other."""
    provider = cloud_or_none(worker)
    if provider is None:
        raise Refused(
            f"{doing} {worker.name} is not possible: it is a machine of kind {worker.provider}, "
            "which Offload uses and did not make.",
            hint="Do it with the machine's own tools; `manage.py fleet rm` takes it off the list.",
        )
    return provider


def is_cloud(worker: Worker) -> bool:
    """Tell whether Offload makes the worker's machine, whatever its configuration is worth."""
    return worker.provider in registry.CLOUDS


def cloud_or_none(worker: Worker) -> CloudProvider | None:
    """Return the provider of a worker whose machine Offload makes; None for any other."""
    return registry.make_cloud(worker.provider, provider_config(worker))


def _way(source: WorkerState, target: WorkerState) -> list[WorkerState]:
    """Return the shortest legal way from one state to another, without the source."""
    ways: deque[list[WorkerState]] = deque([[source]])
    seen = {source}
    while ways:
        way = ways.popleft()
        if way[-1] is target:
            return way[1:]
        for state in sorted(WORKER_MOVES[way[-1]]):
            if state not in seen:
                seen.add(state)
                ways.append([*way, state])
    return []


def _bring_row(
    worker_id: int,
    target: WorkerState,
    detail: str,
    since: datetime | None = None,
    *,
    seen: Worker | None = None,
) -> None:
    """Move a worker to a state, by legal moves. With `seen`, not when its row has changed since."""
    with transaction.atomic():
        row = Worker.objects.select_for_update().get(id=worker_id)
        if is_newer(row, seen):
            return
        for state in _way(WorkerState(row.state), target):
            move_worker(worker_id, state, detail=detail, since=since)


bring_row = sync_to_async(_bring_row)


def spec_of_machine(worker: Worker, *, user_data: bool = True) -> dict[str, Any]:
    """Return the spec that the worker's machine is made from: `spec`, and the zone and kind it got.

    With `user_data`, also what it reads at its boot.
    """
    spec = dict(worker.config.get("spec") or {})
    for key in ("zone", "spot"):
        found = {**worker.config, **worker.facts}
        if key in found:
            spec[key] = found[key]
    if user_data and worker.config.get("boot") is not None:
        spec["user_data"] = cloud_init.render(cloud_init.of_worker(worker.name, worker.root, worker.config))
    return spec


async def until_state(
    provider: CloudProvider,
    name: str,
    wanted: tuple[InstanceState | None, ...],
    *,
    what: str,
    deadline: float,
    step: Step,
) -> Instance | None:
    """Wait until a machine is in one of the `wanted` states (None: gone); return it.

    Raises `TimedOut`; and, when the machine is gone while it is waited for, what the provider says about
    that, else `NoCapacity`.
    """

    async def look() -> Seen[tuple[Instance | None]]:
        instance = await provider.get(name)
        state = instance.state if instance else None
        if state in wanted:
            return Seen((instance,))
        if instance is None or instance.state is InstanceState.STOPPED:
            # It never came, or its start was accepted and failed later on.
            trouble = await provider.find_failure(name)
            if trouble is not None or instance is None:
                return Seen(None, error=trouble or _vanished(name))
        return Seen(None, f"{name} is {instance.state.value}")

    return (await wait_until(what, look, deadline=deadline, step=step))[0]


async def until_removed(provider: CloudProvider, resource: Resource, step: Step) -> None:
    """Wait until a resource that was asked to go is gone. Raises `TimedOut`."""

    async def look() -> Seen[bool]:
        left = await provider.still_exists(resource)
        return Seen(None, f"the {resource} is still there") if left else Seen(True)

    await wait_until(f"the {resource} to go", look, deadline=GONE_DEADLINE, step=step)


def _vanished(name: str) -> NoCapacity:
    return NoCapacity(f"{name} was accepted and is not there any more.", hint="The same command tries again.")


def require_size(size: str) -> str:
    """Return the name of a machine's size. Raises `UsageError` for what can be none."""
    if not size or not all(sign.isalnum() or sign == "-" for sign in size):
        raise UsageError(f"{size!r} is not the name of a machine type.", hint="Write e.g. n2-standard-8.")
    return size
