"""The workers, for `manage.py fleet`: list, add, forget."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction
from django.db.models import Count, ProtectedError, Q

from jobs.errors import NotFound, Refused, UsageError
from jobs.management.output import ago, colour, plain, print_json
from jobs.models import Worker
from jobs.remote.layout import DEFAULT_ROOT_NAME
from jobs.workers import connect, ensure_local_worker, observe_worker

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_.-]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?"
)
_HOME_DEADLINE = 30.0


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
    }


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


async def ls(options: Mapping[str, Any]) -> int:
    """List the workers, and what was last seen of them."""
    await sync_to_async(ensure_local_worker)()
    here = Q(jobs__removed_at__isnull=True)
    workers = [worker async for worker in Worker.objects.annotate(present=Count("jobs", filter=here))]
    if options["json"]:
        print_json("workers", [{**as_json(worker), "jobs": worker.present} for worker in workers])
        return 0
    for worker in workers:
        jobs = f"{worker.present} job{'' if worker.present == 1 else 's'}"
        print(f"{colour(worker.name, 'bold')}  {worker.provider}  {worker.state}  {jobs}  {worker.root}")
        print(f"  {plain(worker.state_detail or 'Not asked yet.')} Seen {ago(worker.observed_at)}.")
    return 0


async def add(options: Mapping[str, Any]) -> int:
    """Add a machine that is there already: it is reached once, and only then kept."""
    name, provider = options["name"], options["provider"]
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The worker's name {name!r} is not usable.", hint="Use small letters, digits and dashes."
        )
    if provider == "local" and any(options[key] for key in ("host", "jump", "key")):
        raise UsageError("A local worker has no --host, --jump or --key.", hint="Leave them out.")
    if options["root"] and not options["root"].startswith("/"):
        raise UsageError(f"The root {options['root']!r} is not an absolute path.")
    config = read_address(options["host"] or name) if provider == "ssh" else {}
    if options["jump"]:
        read_address(options["jump"])
        config["jump"] = options["jump"]
    if options["key"]:
        config["key"] = _absolute(options["key"])
    worker = Worker(name=name, provider=provider, config=config, root=options["root"] or "/")
    if await Worker.objects.filter(name=name).aexists():
        raise Refused(f"There is a worker called {name!r} already.", hint="Choose another name.")
    async with connect(worker) as line:
        found = await line.transport.run(["printenv", "HOME"], deadline=_HOME_DEADLINE)
    home = found.stdout.decode(errors="replace").strip()
    root = options["root"] or f"{home.rstrip('/')}/{DEFAULT_ROOT_NAME}"
    worker = await _create(name, provider, config, root)
    await observe_worker(worker.id, True, "Answered when it was added.")
    worker = await Worker.objects.aget(id=worker.id)
    if options["json"]:
        print_json("worker", as_json(worker))
    else:
        print(f"{name} answers; jobs go there with --worker {name}. Its root is {root}.")
        print("`manage.py doctor` checks it in full.")
    return 0


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
