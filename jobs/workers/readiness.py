"""Waiting for a machine that runs to be ready: its boot is through, and it answers over ssh."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from jobs.errors import CommandFailed, OffloadError, WorkerUnavailable
from jobs.models import Worker
from jobs.providers.base import CloudProvider
from jobs.states import WorkerState
from jobs.transport.endpoint import SshEndpoint
from jobs.workers.connection import connect
from jobs.workers.machines import Step, bring_row
from jobs.workers.published_keys import is_pinned, pin_published
from jobs.workers.waiting import Seen, wait_until

BOOT_DEADLINE = 600.0
ANSWER_DEADLINE = 20.0


async def what_is_missing(worker: Worker) -> str | None:
    """Ask the machine over its line; None: it is ready, else what is missing. Raises `WorkerUnavailable`

    when the machine says that its boot failed.
    """
    try:
        async with connect(worker) as line:
            file = worker.config.get("boot_file")
            if not file:
                await line.transport.run(["true"], deadline=ANSWER_DEADLINE)
                return None
            done = await line.transport.run(["cat", str(file)], deadline=ANSWER_DEADLINE)
    except CommandFailed:
        return "it answers, and its boot has not begun"
    except OffloadError as error:
        if not error.retryable:
            raise
        return error.message
    try:
        said = json.loads(done.stdout)
    except ValueError:
        return "its boot has not said how far it is"
    if said.get("state") == "failed":
        raise _boot_failed(worker, said)
    return None if said.get("state") == "ready" else f"booting: {said.get('step') or 'started'}"


def _boot_failed(worker: Worker, said: Mapping[str, Any]) -> WorkerUnavailable:
    error = WorkerUnavailable(
        f"{worker.name} did not boot through: {said.get('step') or 'boot'}: "
        f"{said.get('error') or 'no reason given'}",
        hint=f"`manage.py fleet logs {worker.name}` shows its console; `fleet rebuild` makes it again.",
    )
    error.retryable = False  # type: ignore[misc]
    return error


async def _pin(provider: CloudProvider, worker: Worker, *, ask: bool) -> bool:
    """Pin the host keys that the machine published by way of its provider; return whether there are any.

    Without `ask`, a provider, which limits such questions, is asked only while no key is pinned.
    """
    instance = await provider.get(worker.name)
    endpoint = provider.endpoint(instance) if instance is not None else None
    if not isinstance(endpoint, SshEndpoint) or endpoint.pin_new_host:
        return True
    if not ask and await asyncio.to_thread(is_pinned, endpoint):
        return True
    keys = await provider.host_keys(worker.name)
    await asyncio.to_thread(pin_published, endpoint, keys)
    return bool(keys) or await asyncio.to_thread(is_pinned, endpoint)


async def until_ready(provider: CloudProvider, worker: Worker, before: dict[str, str], step: Step) -> None:
    """Wait until a machine answers and its boot is through; `before`: its report of an earlier boot.

    Raises `TimedOut` and `WorkerUnavailable`; the row is `unreachable` then.
    """
    step(f"Waiting until {worker.name} answers")
    first = True

    async def look() -> Seen[bool]:
        nonlocal first
        ask, first = first, False
        if not await _pin(provider, worker, ask=ask):
            # sshd may be up first, and would be taken for another machine.
            missing: str | None = "it has not published its host keys"
        else:
            missing = await what_is_missing(worker)
        if missing is None:
            return Seen(True)
        said = dict(await provider.report(worker.name))
        if said and said != before:
            if said.get("state") == "failed":
                raise _boot_failed(worker, said)
            missing = f"booting: {said.get('step') or said.get('state')}"
        return Seen(None, missing)

    try:
        await wait_until(
            f"{worker.name} to answer",
            look,
            deadline=float(worker.config.get("boot_deadline") or BOOT_DEADLINE),
            step=step,
            hint=f"`manage.py fleet logs {worker.name}` shows its console. The same command goes on.",
        )
    except OffloadError as error:
        await bring_row(worker.id, WorkerState.UNREACHABLE, error.message)
        raise
