"""The workers, for `manage.py fleet`: list, add, forget."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, ProtectedError, Q

from jobs import execution
from jobs.cli.fleet.machine_output import describe_machine, machine_json
from jobs.cli.output import colour, plain, print_json, say
from jobs.errors import NotConfigured, NotFound, Refused, UsageError
from jobs.formats import format_age
from jobs.models import Worker
from jobs.providers.base import Severity
from jobs.remote.container_commands import CONTAINER
from jobs.remote.layout import DEFAULT_ROOT_NAME, socket_for_root
from jobs.workers import (
    Machine,
    connect,
    ensure_local_worker,
    forget_pins,
    look_at,
    observe_worker,
    pins_of,
    words_for_ssh,
)
from jobs.workers.container.spec import DEFAULT_IMAGE
from jobs.workers.ssh_config import check_alias

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_.-]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?"
)


def check_worker_name(name: str) -> str:
    """Return a worker's name. Raises `UsageError` for what can be none."""
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


def as_json(worker: Worker) -> dict[str, Any]:
    """Return a worker as `--json` shows it."""
    return {
        "name": worker.name,
        "provider": worker.provider,
        "state": worker.state,
        "state_detail": worker.state_detail or None,
        "observed_at": worker.observed_at.isoformat().replace("+00:00", "Z") if worker.observed_at else None,
        "root": worker.root,
        "config": worker.config,
        "ssh": f"ssh {words}" if (words := words_for_ssh(worker)) else None,
    }


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


async def ls(options: Mapping[str, Any]) -> int:
    """List the workers, and what was last seen of them."""
    await sync_to_async(ensure_local_worker)()
    for name in await execution.look_at_machines():
        say(f"The provider of {name} does not answer; {name} is shown as last seen.")
    here = Q(jobs__removed_at__isnull=True)
    workers = [worker async for worker in Worker.objects.annotate(present=Count("jobs", filter=here))]
    if options["json"]:
        shown = [
            {**as_json(worker), "jobs": worker.present, **await machine_json(worker)} for worker in workers
        ]
        print_json("workers", shown)
        return 0
    for worker in workers:
        jobs = f"{worker.present} job{'' if worker.present == 1 else 's'}"
        print(f"{colour(worker.name, 'bold')}  {worker.provider}  {worker.state}  {jobs}  {worker.root}")
        print(f"  {plain(worker.state_detail or 'Not asked yet.')} Seen {format_age(worker.observed_at)}.")
        for line in await describe_machine(worker):
            print(f"  {plain(line)}")
        if (words := words_for_ssh(worker)) is not None:
            print(f"    {colour('manual', 'dim')}  ssh {words}")
    return 0


async def add(options: Mapping[str, Any]) -> int:
    """Add a machine that is there already: it is looked at once, and kept only when it can work."""
    name, provider = options["name"], options["provider"]
    config = _config(options)
    worker = Worker(name=name, provider=provider, config=config, root=options["root"] or "/")
    if await Worker.objects.filter(name=name).aexists():
        raise Refused(f"There is a worker called {name!r} already.", hint="Choose another name.")
    before = pins_of(worker)
    try:
        machine = await _look(worker, options["root"] or _usual_root(worker))
    except BaseException:
        # A host that is not kept as a worker is not kept as a known host either.
        forget_pins(worker, [pin for pin in pins_of(worker) if pin not in before])
        raise
    new_pins = [pin for pin in pins_of(worker) if pin not in before]
    root = machine.root
    usual = f"{machine.home.rstrip('/')}/{DEFAULT_ROOT_NAME}"
    if provider == "ssh" and root != usual:
        # Two roots on one machine are two workers: they must not share a tmux server.
        config["tmux_socket"] = socket_for_root(root, usual)
    if config.get("container") and machine.engine:
        config["container"].setdefault("engine", list(machine.engine))
        if root != usual:
            # Nor a container, on one engine.
            config["container"].setdefault("name", f"{CONTAINER}-{name}")
    worker = await _create(name, provider, config, root)
    await observe_worker(worker.id, True, "Answered when it was added.")
    worker = await Worker.objects.aget(id=worker.id)
    keys = [{"host": pin.name, "kind": pin.key.kind, "fingerprint": pin.key.fingerprint} for pin in new_pins]
    warnings = [problem for problem in machine.problems if problem.severity is Severity.WARN]
    if options["json"]:
        print_json("worker", {**as_json(worker), "new_host_keys": keys})
        return 0
    for key in keys:
        print(f"First contact: {key['host']} has the host key {key['fingerprint']} ({key['kind']}).")
    if keys:
        print("Compare it on the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    for problem in warnings:
        say(f"{problem.subject}: {problem.detail} {problem.remedy}")
    print(f"{name} can work; jobs go there with --worker {name}. Its root is {root}.")
    print(f"`manage.py doctor {name}` looks at it again.")
    return 0


def _config(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the worker's configuration that the options ask for. Raises `UsageError`."""
    name, provider = options["name"], options["provider"]
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The worker's name {name!r} is not usable.", hint="Use small letters, digits and dashes."
        )
    if provider == "local" and any(options[key] for key in ("host", "jump", "key", "alias")):
        raise UsageError("A local worker has no --host, --jump, --key or --alias.", hint="Leave them out.")
    if options["root"] and not options["root"].startswith("/"):
        raise UsageError(f"The root {options['root']!r} is not an absolute path.")
    config = read_address(options["host"] or name) if provider == "ssh" else {}
    if options["jump"]:
        for hop in options["jump"].split(","):
            read_address(hop.strip())
        config["jump"] = options["jump"]
    if options["key"]:
        config["key"] = _absolute(options["key"])
    if options["alias"]:
        check_alias(options["alias"], Worker(name=name), [])
        config["alias"] = options["alias"]
    container = {key: options[key] for key in ("image", "isolation", "network") if options[key]}
    if options["engine"]:
        container["engine"] = shlex.split(options["engine"])
    if container and options["container"] is False:
        raise UsageError(
            f"--no-container and --{next(iter(container))} contradict each other.", hint="Leave one out."
        )
    if container or options["container"]:
        config["container"] = container or {"image": DEFAULT_IMAGE}
    elif options["container"] is False and provider == "local":
        config["container"] = False
    return config


def _usual_root(worker: Worker) -> str:
    """Return the root of a second worker on this machine; empty: the usual one, in the home there."""
    return f"{settings.OFFLOAD.local_root}-{worker.name}" if worker.provider == "local" else ""


async def _look(worker: Worker, root: str) -> Machine:
    """Look at a machine that is to be added. Raises `NotConfigured` when it cannot work."""
    taken = await Worker.objects.filter(provider="local", root=root or "/").afirst()
    if worker.provider == "local" and taken is not None:
        raise Refused(f"{root} is the root of {taken.name}.", hint="Name another one with --root.")
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
        with transaction.atomic():
            return Worker.objects.create(name=name, provider=provider, config=config, root=root)
    except IntegrityError:
        raise Refused(f"There is a worker called {name!r} already.", hint="Choose another name.") from None


async def rm(options: Mapping[str, Any]) -> int:
    """Forget a worker that has no jobs. Nothing on the machine is touched."""
    name = options["name"]
    worker = await Worker.objects.filter(name=name).afirst()
    if worker is None:
        raise NotFound(f"There is no worker called {name!r}.", hint="See `manage.py fleet ls`.")
    if await worker.jobs.filter(removed_at__isnull=True).aexists():
        raise Refused(f"{name} still has jobs.", hint="Remove them first: `manage.py offload ls`.")
    try:
        await worker.adelete()
    except ProtectedError:
        raise Refused(
            f"{name} is where jobs of the record ran, so it stays on the list.",
            hint="Leave it; without jobs it costs nothing.",
        ) from None
    if options["json"]:
        print_json("removed", {"name": name})
    else:
        print(f"{name} is off the list; nothing on the machine was touched.")
    return 0
