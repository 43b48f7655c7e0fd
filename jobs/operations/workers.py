"""The list of workers: list them, add an existing machine, remove one from the list."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass
from typing import Any, Literal

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import IntegrityError
from django.db.models import Count, ProtectedError, Q

from jobs import execution
from jobs.errors import NotConfigured, NotFound, OffloadError, Refused, UsageError
from jobs.models import Worker
from jobs.operations.progress import Progress
from jobs.providers.base import Problem, Severity
from jobs.remote.container_commands import CONTAINER
from jobs.remote.layout import DEFAULT_ROOT_NAME, socket_for_root
from jobs.states import WorkerState
from jobs.transport.host_keys import Pin
from jobs.workers import (
    Machine,
    connect,
    ensure_local_worker,
    forget_pins,
    look_at,
    observe_worker,
    pins_of,
)
from jobs.workers.container.spec import DEFAULT_IMAGE
from jobs.workers.costs import Cost, cost_of
from jobs.workers.idle import Idle, idle_of, read_idle
from jobs.workers.records import create_worker
from jobs.workers.ssh_config import check_alias

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PROGRAMS = {"tmux": "tmux", "git": "git", "python3": "python"}  # name -> setting of a worker
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_.-]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?"
)


def check_worker_name(name: str) -> str:
    """Return the name of a worker. Raises `UsageError` when it is not usable."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The worker's name {name!r} is not usable.", hint="Use small letters, digits and dashes."
        )
    return name


def read_address(text: str) -> dict[str, Any]:
    """Return `host`, and `user` and `port` when given, of `[user@]host[:port]`. Raises `UsageError`."""
    match = _ADDRESS.fullmatch(text)
    if match is None or text.startswith("-") or (match["port"] and not 0 < int(match["port"]) < 65536):
        raise UsageError(
            f"{text!r} is not an address.", hint="Write [user@]host[:port], or a name of your OpenSSH config."
        )
    address: dict[str, Any] = {"host": match["host"].strip("[]")}
    if match["user"]:
        address["user"] = match["user"]
    if match["port"]:
        address["port"] = int(match["port"])
    return address


@dataclass(frozen=True)
class WorkerOverview:
    """A worker with what lists show of it. `jobs`: how many have files there.

    `idle`: when it stops and why; `cost`: what it has cost; each None when unknown. `problem`: why one of
    them could not be read.
    """

    worker: Worker
    jobs: int
    idle: Idle | None = None
    cost: Cost | None = None
    problem: str = ""


async def list_workers(warn: Progress) -> list[WorkerOverview]:
    """Return every worker as just observed. `warn`: receives a sentence for each that did not answer."""
    await sync_to_async(ensure_local_worker)()
    # Both take seconds: the providers' answers, and the machines' own. Most machines that were up still are.
    up = [worker async for worker in Worker.objects.filter(state=WorkerState.READY)]
    reads = {worker.id: asyncio.create_task(read_idle(worker)) for worker in up}
    try:
        silent, _ = await asyncio.gather(execution.look_at_machines(), execution.look_at_hosts())
        for name in silent:
            warn(f"The provider of {name} does not answer; {name} is shown as last observed.")
        present = Q(jobs__removed_at__isnull=True)
        rows = Worker.objects.annotate(present=Count("jobs", filter=present))
        workers = [worker async for worker in rows]
        return await asyncio.gather(
            *(describe_worker(one, one.present, reads.get(one.id)) for one in workers)
        )
    finally:
        for task in reads.values():
            task.cancel()
        await asyncio.gather(*reads.values(), return_exceptions=True)


async def read_workers(name: str = "") -> list[WorkerOverview]:
    """Return every worker, or the one called `name`, as last observed. Raises `NotFound`."""
    await sync_to_async(ensure_local_worker)()
    if name:
        await get_worker(name)
    present = Q(jobs__removed_at__isnull=True)
    rows = Worker.objects.annotate(present=Count("jobs", filter=present))
    rows = rows.filter(name=name) if name else rows
    return [await _overview(worker, worker.present) async for worker in rows]


async def describe_worker(
    worker: Worker, jobs: int, read: asyncio.Task[Worker] | None = None
) -> WorkerOverview:
    """Return a worker with when it stops and what it has cost. `read`: the machine is asked already."""
    try:
        if read is None or worker.state != WorkerState.READY:
            worker = await read_idle(worker)
        else:
            await read
            worker = await Worker.objects.aget(id=worker.id)
    except OffloadError as error:
        return WorkerOverview(worker, jobs, problem=error.message)
    return await _overview(worker, jobs)


async def _overview(worker: Worker, jobs: int) -> WorkerOverview:
    try:
        cost = None if worker.config.get("simulated") else await cost_of(worker)
        return WorkerOverview(worker, jobs, idle_of(worker), cost)
    except OffloadError as error:
        return WorkerOverview(worker, jobs, problem=error.message)


async def get_worker(name: str) -> Worker:
    """Return the worker called `name`. Raises `NotFound`."""
    worker = await Worker.objects.filter(name=name).afirst()
    if worker is None:
        raise NotFound(f"There is no worker called {name!r}.", hint="See `offload fleet ls`.")
    return worker


@dataclass(frozen=True)
class NewWorker:
    """An existing machine to add. Empty fields take the default of `offload fleet add`.

    `container`: None decides by the other container fields. `engine`: the words of its command. `programs`:
    `NAME=PATH` of tmux, git or python3 on the machine.
    """

    name: str
    provider: Literal["local", "ssh"] = "ssh"
    host: str = ""
    jump: str = ""
    key: str = ""
    alias: str = ""
    root: str = ""
    container: bool | None = None
    image: str = ""
    engine: tuple[str, ...] = ()
    network: str = ""
    isolation: str = ""
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddedWorker:
    """A worker that was added, the host keys that were pinned, and what the machine lacks."""

    worker: Worker
    new_pins: tuple[Pin, ...]
    warnings: tuple[Problem, ...]


async def add_worker(new: NewWorker) -> AddedWorker:
    """Check a machine and add it as a worker.

    Raises `UsageError` (contradicting fields), `Refused` (the name or root is used), `NotConfigured` (the
    machine cannot run jobs), or the error of the connection. Nothing is kept then.
    """
    config = _config_of(new)
    worker = Worker(name=new.name, provider=new.provider, config=config, root=new.root or "/")
    if await Worker.objects.filter(name=new.name).aexists():
        raise _name_is_used(new.name)
    before = pins_of(worker)
    try:
        machine = await _check_machine(worker, new.root or _usual_root(worker))
    except BaseException:
        # A host that is not added is not kept as a known host either.
        forget_pins(worker, [pin for pin in pins_of(worker) if pin not in before])
        raise
    new_pins = tuple(pin for pin in pins_of(worker) if pin not in before)
    root = machine.root
    usual = f"{machine.home.rstrip('/')}/{DEFAULT_ROOT_NAME}"
    if new.provider == "ssh" and root != usual:
        # Two roots on one machine are two workers, which must not share a tmux server.
        config["tmux_socket"] = socket_for_root(root, usual)
    for name in machine.login:  # commands do not find them by name
        config[_PROGRAMS[name]] = machine.programs[name][0]
    if config.get("container") and machine.engine:
        config["container"].setdefault("engine", list(machine.engine))
        if root != usual:
            # Nor may they share a container of one engine.
            config["container"].setdefault("name", f"{CONTAINER}-{new.name}")
    worker = await _create(new.name, new.provider, config, root)
    await observe_worker(worker.id, True, "Answered when it was added.")
    worker = await Worker.objects.aget(id=worker.id)
    warnings = tuple(
        problem
        for problem in machine.problems
        if problem.severity is Severity.WARN and problem.subject not in machine.login
    )
    return AddedWorker(worker, new_pins, warnings)


def _config_of(new: NewWorker) -> dict[str, Any]:
    """Return the configuration of the new worker. Raises `UsageError`."""
    check_worker_name(new.name)
    if new.provider == "local" and (new.host or new.jump or new.key or new.alias):
        raise UsageError("A local worker has no --host, --jump, --key or --alias.", hint="Leave them out.")
    if new.root and not new.root.startswith("/"):
        raise UsageError(f"The root {new.root!r} is not an absolute path.")
    config = read_address(new.host or new.name) if new.provider == "ssh" else {}
    if new.jump:
        for hop in new.jump.split(","):
            read_address(hop.strip())
        config["jump"] = new.jump
    if new.key:
        config["key"] = os.path.abspath(os.path.expanduser(new.key))
    config |= _read_programs(new)
    if new.alias:
        check_alias(new.alias, Worker(name=new.name), [])
        config["alias"] = new.alias
    named = {
        "image": new.image,
        "isolation": new.isolation,
        "network": new.network,
        "engine": list(new.engine),
    }
    container = {key: value for key, value in named.items() if value}
    if container and new.container is False:
        raise UsageError(
            f"--no-container and --{next(iter(container))} contradict each other.", hint="Leave one out."
        )
    if container or new.container:
        config["container"] = container or {"image": DEFAULT_IMAGE}
    elif new.container is False and new.provider == "local":
        config["container"] = False
    return config


def _read_programs(new: NewWorker) -> dict[str, str]:
    """Return the settings that say where programs are. Raises `UsageError`."""
    found = {}
    for text in new.programs:
        name, _, path = text.partition("=")
        if name not in _PROGRAMS or not path.startswith("/") or new.provider == "local":
            raise UsageError(
                f"--program {text!r} is not usable.",
                hint=f"Write NAME=/absolute/path for {', '.join(_PROGRAMS)} of an ssh worker.",
            )
        if name == "git" and not path.endswith("/git"):
            raise UsageError(f"The program {path} is not called git.", hint="Make a link called git to it.")
        found[_PROGRAMS[name]] = path
    return found


def _usual_root(worker: Worker) -> str:
    """Return the root of a second worker on this machine; empty: the usual one, in the home there."""
    return f"{settings.OFFLOAD.local_root}-{worker.name}" if worker.provider == "local" else ""


async def _check_machine(worker: Worker, root: str) -> Machine:
    """Return what was found on a machine. Raises `NotConfigured` when it cannot run jobs."""
    other = await Worker.objects.filter(provider="local", root=root or "/").afirst()
    if worker.provider == "local" and other is not None:
        raise Refused(f"{root} is the root of {other.name}.", hint="Name another one with --root.")
    container = worker.config.get("container") or None
    engine = (container or {}).get("engine") or ()
    async with connect(worker) as line:
        machine = await look_at(
            line.transport, line.layout, root=root, container=container is not None, engine=engine, power=True
        )
    if machine.failures:
        said = " ".join(f"{problem.subject}: {problem.detail}" for problem in machine.failures)
        hints = " ".join(problem.remedy.replace("WORKER", worker.name) for problem in machine.failures)
        raise NotConfigured(f"{worker.name} cannot run jobs as it is. {said}", hint=hints)
    return machine


@sync_to_async
def _create(name: str, provider: str, config: dict[str, Any], root: str) -> Worker:
    try:
        return create_worker(name, provider, root, config)
    except IntegrityError:
        raise _name_is_used(name) from None


async def remove_worker(name: str) -> None:
    """Remove a worker without jobs from the list; its machine stays. Raises `NotFound`, `Refused`."""
    worker = await get_worker(name)
    if await worker.jobs.filter(removed_at__isnull=True).aexists():
        raise Refused(f"{name} still has jobs.", hint="Remove them first: `offload ls`.")
    try:
        await worker.adelete()
    except ProtectedError:
        raise Refused(
            f"{name} cannot leave the list: removed jobs ran there, and their record stays.",
            hint="Leave it; without jobs it costs nothing.",
        ) from None


def _name_is_used(name: str) -> Refused:
    return Refused(f"There is already a worker called {name!r}.", hint="Choose another name.")
