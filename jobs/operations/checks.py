"""Check what Offload needs: its home, configuration, database, and each worker."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, connection

from jobs.errors import OffloadError
from jobs.formats import format_age
from jobs.models import Job, Worker
from jobs.operations.forge_checks import check_forges
from jobs.operations.notices import is_webhook, last_failed_notice
from jobs.operations.progress import Progress, silent
from jobs.providers.base import Problem, Severity
from jobs.transport.host_keys import SSH_PORT, host_name
from jobs.workers import (
    Connection,
    Machine,
    check_worker,
    connect,
    ensure_local_worker,
    find_sibling,
    forget_pins,
    look_at,
    observe_worker,
    pins_of,
    repair_machine,
    sibling_name,
)
from jobs.workers.container.check import check_container

REACH_SECONDS = 20.0
SLOW_SECONDS = 2.0  # after that the user is told what is waited for
PRIVATE_DIR, PRIVATE_FILE = 0o700, 0o600


async def check_everything(progress: Progress = silent, *, apply: bool = False) -> list[Problem]:
    """Check everything; with `apply`, repair what needs no decision of the user.

    `progress`: is told which workers have not answered after two seconds.
    """
    problems = check_files(apply=apply)
    problems += await sync_to_async(_check_database)()
    await sync_to_async(ensure_local_worker)()
    workers = [worker async for worker in Worker.objects.all()]
    problems += _check_choices({worker.name for worker in workers})
    problems += await _check_notices()
    forges = asyncio.ensure_future(check_forges())
    checks = {worker.name: asyncio.ensure_future(_check_worker(worker)) for worker in workers}
    await asyncio.wait(checks.values(), timeout=SLOW_SECONDS)
    if slow := [name for name, check in checks.items() if not check.done()]:
        progress(f"Waiting for {', '.join(slow)} (at most {REACH_SECONDS:g} seconds)")
    for found in await asyncio.gather(*checks.values()):
        problems += found
    return problems + await forges


def check_files(*, apply: bool) -> list[Problem]:
    """Return whether the files in Offload's home are the user's alone; with `apply`, make them so."""
    config = settings.OFFLOAD
    home = Path(config.home)
    if not os.access(home, os.W_OK):
        return [
            Problem(
                Severity.FAIL,
                "home",
                f"{home} cannot be written.",
                "Correct its permissions, or set OFFLOAD_HOME.",
            )
        ]
    wanted = {
        home: PRIVATE_DIR,
        config.logs: PRIVATE_DIR,
        config.archive: PRIVATE_DIR,
        config.config_file: PRIVATE_FILE,
        home / "secret_key": PRIVATE_FILE,
        home / "secrets.private.json": PRIVATE_FILE,
        home / "secrets.json": PRIVATE_FILE,
        config.database: PRIVATE_FILE,
    }
    problems = [found for path, mode in wanted.items() if (found := _check_mode(path, mode, apply=apply))]
    return problems or [Problem(Severity.PASS, "home", f"{home} is readable by you only.")]


def _check_mode(path: Path, wanted: int, *, apply: bool) -> Problem | None:
    """Return a problem when other users can read a file of ours. A missing file is no problem."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & 0o077:
            return None
        if apply:
            path.chmod(wanted)
            return Problem(
                Severity.PASS, "home", f"{path} was readable by other users; only you can read it now."
            )
    except FileNotFoundError:
        return None
    except OSError as error:
        return Problem(Severity.WARN, "home", f"{path}: {error.strerror}.")
    if _is_closed(path.parent):
        # Other users cannot enter its directory.
        return None
    return Problem(
        Severity.WARN,
        "home",
        f"{path} is readable by other users (mode {mode:o}).",
        f"chmod {wanted:o} {path}, or `offload doctor --apply`.",
    )


def _is_closed(folder: Path) -> bool:
    return not stat.S_IMODE(folder.stat().st_mode) & 0o011


def _check_database() -> list[Problem]:
    try:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("PRAGMA quick_check(1)")
                found = str(cursor.fetchone()[0])
                if found != "ok":
                    return [
                        Problem(
                            Severity.FAIL,
                            "database",
                            f"{settings.OFFLOAD.database} is damaged: {found}.",
                            "Move it away. Jobs on the workers keep running; tmux attaches to them.",
                        )
                    ]
        count = Job.objects.count()
    except DatabaseError as error:
        return [Problem(Severity.FAIL, "database", f"Reading it failed: {error}.", "Check database_url.")]
    return [Problem(Severity.PASS, "database", f"{connection.vendor}, up to date, {count} jobs.")]


def _check_choices(workers: set[str]) -> list[Problem]:
    """Compare the configured default worker with the workers there are."""
    chosen = settings.OFFLOAD.worker
    if chosen in workers:
        return []
    return [
        Problem(
            Severity.FAIL,
            "worker",
            f"The configured worker {chosen!r} does not exist.",
            f"Add it with `offload fleet add {chosen}`, or set another: `offload setup --set worker=local`.",
        )
    ]


async def _check_notices() -> list[Problem]:
    """Check the command of the setting `notify`, and what came of the last notice."""
    words = settings.OFFLOAD.notify
    if not words:
        return []
    if not is_webhook(words) and shutil.which(words[0]) is None:
        what = f"The command {words[0]!r} of the setting notify does not exist."
        return [Problem(Severity.FAIL, "notify", what, "Install it, or correct `notify` in config.toml.")]
    if (failed := await last_failed_notice()) is None:
        return []
    event, why = failed
    what = f"The last notice failed ({format_age(event.at)}): {why}"
    return [Problem(Severity.WARN, "notify", what, "Correct the setting notify, or the secret NOTIFY_TOKEN.")]


async def check_worker_in_full(
    worker: Worker, progress: Progress, *, apply: bool, forget_host_keys: bool = False
) -> list[Problem]:
    """Check one worker; with `apply`, repair what can be repaired there.

    `forget_host_keys`: forget its pinned host keys first, and pin those that it shows now.
    """
    before = pins_of(worker)
    if forget_host_keys:
        mine = [pin for pin in before if pin.name in await asyncio.to_thread(_names_of, worker)]
        forget_pins(worker, mine)
        before = pins_of(worker)
    problems = await _check_worker(worker, progress, apply=apply)
    for pin in pins_of(worker):
        if pin not in before:
            text = f"First contact: {pin.name} has the host key {pin.key.fingerprint} ({pin.key.kind})."
            problems.insert(0, Problem(Severity.PASS, f"worker {worker}: host key", text))
    return problems


def _names_of(worker: Worker) -> set[str]:
    """Return the names under which the worker's host key may be pinned."""
    host = str(worker.config.get("host") or worker.name)
    ports = [int(worker.config["port"])] if worker.config.get("port") else []
    known = {pin.name for pin in pins_of(worker)}
    # Without a port of ours the OpenSSH config may have one.
    exact = {host_name(host, port) for port in ports or [SSH_PORT]}
    return exact if ports else exact | {name for name in known if name.startswith(f"[{host}]:")}


async def _check_worker(worker: Worker, progress: Progress = silent, *, apply: bool = False) -> list[Problem]:
    name = f"worker {worker}"
    problems: list[Problem] = []
    try:
        async with asyncio.timeout(None if apply else REACH_SECONDS):
            problems += _named(name, await check_worker(worker))
            async with connect(worker) as line:
                machine = await _examine_machine(line, progress, apply=apply)
                said = machine.problems
                if worker.provider == "local":
                    # The provider has already checked this machine.
                    said = tuple(one for one in said if one.subject not in {p.subject for p in problems})
                    said = tuple(one for one in said if one.subject in ("root", "engine"))
                problems += _named(name, said)
                hello = None if machine.failures else await line.client.hello()
                if worker.provider == "local" and line.container is None:
                    problems += _named(name, [await _code_from_elsewhere(worker)])
                if hello is not None and line.container is not None:
                    problems += _named(name, await check_container(line.transport, line.container))
    except OffloadError as error:
        await observe_worker(worker.id, False, error.message)
        return [*problems, Problem(Severity.FAIL, name, error.message, error.hint)]
    except TimeoutError:
        text = f"It did not answer within {REACH_SECONDS:g} seconds."
        await observe_worker(worker.id, False, text)
        return [*problems, Problem(Severity.FAIL, name, text, "Check the machine and its network.")]
    await observe_worker(worker.id, True, "Answered doctor.")
    if hello is None:
        return problems
    text = f"The runner answers (Python {hello.get('python', '?')}) at {worker.root}."
    return [*problems, Problem(Severity.PASS, name, text)]


async def _code_from_elsewhere(worker: Worker) -> Problem:
    """Return where jobs of remote repositories run, and why."""
    sibling = await find_sibling(worker)
    if sibling.contained:
        text = (
            f"Code from elsewhere runs in a container ({sibling_name(worker.name)}), because {sibling.why}."
        )
    else:
        text = f"Code from elsewhere runs as you, once you trust it, because {sibling.why}. {sibling.remedy}"
    return Problem(Severity.PASS, "container", text.rstrip())


def _named(name: str, problems: Sequence[Problem]) -> list[Problem]:
    worker = name.partition(" ")[2]
    return [
        replace(p, subject=f"{name}: {p.subject}", remedy=p.remedy.replace("WORKER", worker))
        for p in problems
    ]


async def _examine_machine(line: Connection, progress: Progress, *, apply: bool) -> Machine:
    """Return what is found on a machine; with `apply`, after repairing it."""
    container = line.container

    async def look() -> Machine:
        return await look_at(
            line.transport,
            line.layout,
            root=line.layout.root,
            container=container is not None,
            engine=container.engine if container is not None else (),
            power=True,
        )

    machine = await look()
    if apply and await repair_machine(line.transport, machine, progress):
        machine = await look()
    return machine
