"""Check what keeps untrusted code, other users and other machines out: what holds, what does not, what to do.

A warning is a choice that has a price; a failure is a mistake. `docs/security.md` has the reasons.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.models import Session
from django.utils import timezone

from jobs.errors import NotConfigured, OffloadError
from jobs.execution import configured_agents, secret_store
from jobs.invocation import command
from jobs.models import ApiToken, Repository, Worker
from jobs.operations.checks import check_files
from jobs.providers.base import Problem, Severity
from jobs.workers import (
    Connection,
    check_container,
    connect,
    ensure_local_worker,
    find_sibling,
    isolation_of,
    pins_of,
    sibling_name,
    spec_of,
)

REACH_SECONDS = 30.0
# The mark of valid logins, made by `serve` and removed when they end: see `offload_web.login`.
LOGINS = "logins"
# $1: directory. Its mode as ls prints it, and who owns it.
_OWNER = 'ls -ldn -- "$1" && id -u'
_LISTED = re.compile(r"(d[-rwxsStT]{9})\S* +\d+ +(\d+) .*\n(\d+)\n")


async def check_security(workers: Sequence[Worker] = ()) -> list[Problem]:
    """Return what holds and what does not on this computer and on these workers, or on all of them."""
    await sync_to_async(ensure_local_worker)()
    problems = [*check_files(apply=False), *_check_home(), *_check_server()]
    problems += await sync_to_async(_check_access)()
    problems += await asyncio.to_thread(_check_keys)
    chosen = list(workers) or [worker async for worker in Worker.objects.all()]
    for worker, found in zip(chosen, await asyncio.gather(*map(_check_worker, chosen)), strict=True):
        problems += [replace(one, subject=f"worker {worker}: {one.subject}") for one in found]
    return problems


def _check_home() -> list[Problem]:
    home = Path(settings.OFFLOAD.home)
    owner = home.stat().st_uid
    if owner == os.geteuid():
        return []
    text = f"{home} belongs to user {owner}, who can read and change everything in it."
    return [Problem(Severity.FAIL, "home", text, "Set OFFLOAD_HOME to a directory of your own.")]


def _check_server() -> list[Problem]:
    config = settings.OFFLOAD
    found = []
    if _is_loopback(config.host):
        text = f"`serve` listens on {config.host}, which other machines do not reach."
        found.append(Problem(Severity.PASS, "address", text))
    else:
        text = f"`serve` listens on {config.host}: other machines reach the login page, without encryption."
        remedy = f"Listen here and use a tunnel: ssh -L {config.port}:127.0.0.1:{config.port} THIS-COMPUTER."
        typed = command("setup --set host=127.0.0.1")
        found.append(Problem(Severity.WARN, "address", text, remedy, command=typed))
    if config.allowed_hosts:
        text = f"The dashboard also answers to {', '.join(config.allowed_hosts)}."
        remedy = "Each name must lead to this computer alone; remove those that are not used."
        found.append(Problem(Severity.WARN, "host names", text, remedy))
    if config.debug:
        text = "Debug pages show settings and source code to every caller who reaches the dashboard."
        found.append(
            Problem(Severity.FAIL, "debug", text, "Turn it off.", command=command("setup --set debug=false"))
        )
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _check_access() -> list[Problem]:
    """Return who can use the dashboard and the API now, and whose code may run as the user."""
    count = _count_logins()
    text = "No browser is logged in."
    if count:
        text = f"Browsers that are logged in: {count}. `offload serve --logout` ends their sessions."
    found = [Problem(Severity.PASS, "logins", text)]
    for token in ApiToken.objects.filter(expires_at__gt=timezone.now()):
        text = f"{token} may {', '.join(token.scopes)} until {token.expires_at:%Y-%m-%d}."
        if token.used_at is None:
            remedy = "It was never used. If it is not needed:"
            typed = command(f"token rm {token}")
            found.append(Problem(Severity.WARN, "API token", text, remedy, command=typed))
        else:
            text += f" Last used {token.used_at:%Y-%m-%d}; `offload token rm {token}` revokes it."
            found.append(Problem(Severity.PASS, "API token", text))
    trusted = list(Repository.objects.filter(trusted_at__isnull=False).values_list("slug", flat=True))
    if trusted:
        text = f"Code of {', '.join(trusted)} runs as you on bare workers: you trusted it."
        remedy = "Review it in a container instead (`fleet image build`), or take the trust back:"
        typed = command(f"trust rm {trusted[0]}")
        found.append(Problem(Severity.WARN, "trust", text, remedy, command=typed))
    return found


def _count_logins() -> int:
    try:
        mark = (Path(settings.OFFLOAD.home) / LOGINS).read_text(encoding="ascii")
    except FileNotFoundError:
        return 0
    sessions = Session.objects.filter(expire_date__gt=timezone.now())
    return sum(session.get_decoded().get(LOGINS) == mark for session in sessions)


def _check_keys() -> list[Problem]:
    """Return where secrets are kept, and which agents hold one."""
    found = []
    try:
        in_file = [entry.name for entry in secret_store().names() if entry.source == "file"]
    except OffloadError as error:
        found.append(Problem(Severity.WARN, "secrets", error.message, error.hint))
    else:
        if in_file:
            text = f"{', '.join(in_file)} are in a file that every program of yours can read."
            remedy = "Use a keyring (Secret Service, macOS Keychain), and set them again."
            found.append(Problem(Severity.WARN, "secrets", text, remedy))
        else:
            found.append(Problem(Severity.PASS, "secrets", "None is in a file."))
    for agent in configured_agents():
        try:
            call = agent.review("")
        except NotConfigured:
            continue  # it is not used
        if call.secrets:
            text = (
                f"It holds {', '.join(call.secrets)}: what talks it into something can send that elsewhere."
            )
            remedy = "Name its API, and leave its key out of `agent_secrets`; the gateway then has the key."
            typed = command("setup --set agent_api=anthropic --set agent_secrets=")
            found.append(Problem(Severity.WARN, f"agent {agent.name}", text, remedy, command=typed))
        elif call.gateway is not None:
            text = f"The gateway has {call.gateway.secret}; the agent does not."
            found.append(Problem(Severity.PASS, f"agent {agent.name}", text))
        else:
            found.append(Problem(Severity.PASS, f"agent {agent.name}", "It holds no secret."))
    return found


def _check_caches(worker: Worker) -> Problem:
    if isolation_of(worker.config) != "none":
        return Problem(Severity.PASS, "caches", "Each job has package caches of its own.")
    text = f"Jobs share the package caches in {worker.root}/cache: one can prepare what a later one installs."
    remedy = "For strangers' changes use a worker with a container. To start over, on the worker:"
    return Problem(Severity.WARN, "caches", text, remedy, command=f"rm -rf {worker.root}/cache")


async def _check_worker(worker: Worker) -> list[Problem]:
    found = [*await _check_isolation(worker), *_check_image(worker)]
    found.append(_check_caches(worker))
    if worker.provider != "local":
        found.append(_check_host_key(worker))
    try:
        async with asyncio.timeout(REACH_SECONDS), connect(worker) as line:
            found += await _check_root(line)
            if line.container is not None:
                found += await check_container(line.transport, line.container)
    except OffloadError as error:
        found.append(Problem(Severity.WARN, "not checked", error.message, error.hint))
    except TimeoutError:
        text = f"It did not answer within {REACH_SECONDS:g} seconds."
        found.append(Problem(Severity.WARN, "not checked", text, "Check the machine and its network."))
    return found


async def _check_isolation(worker: Worker) -> list[Problem]:
    isolation = isolation_of(worker.config)
    if isolation == "job":
        return [Problem(Severity.PASS, "isolation", "Each job has a container of its own.")]
    if isolation == "worker":
        text = "Its jobs share one container: they can read and change each other's files."
        remedy = f"Add it again with a container for each job: `offload fleet add {worker} --isolation job`."
        return [Problem(Severity.WARN, "isolation", text, remedy)]
    if worker.provider == "local":
        sibling = await find_sibling(worker)
        if sibling.contained:
            text = f"Code from elsewhere runs in the container of {sibling_name(worker.name)}; yours as you."
            return [Problem(Severity.PASS, "isolation", text)]
        text = f"Not isolated: jobs run as you and can change their results, because {sibling.why}."
        return [Problem(Severity.WARN, "isolation", text, sibling.remedy)]
    text = "Not isolated: jobs run as the worker's user and can change their results."
    remedy = f"Add it again with a container: `offload fleet add {worker} --container --isolation job`."
    return [Problem(Severity.WARN, "isolation", text, remedy)]


def _check_image(worker: Worker) -> list[Problem]:
    spec = spec_of(worker.config, worker.root)
    if spec is None:
        return []
    if "sha256:" in spec.image:
        return [Problem(Severity.PASS, "image name", f"{spec.image} names one image for good.")]
    text = f"{spec.image} is a name that can be given to another image."
    remedy = f"Name the image by its digest, which `offload doctor {worker}` shows."
    return [Problem(Severity.WARN, "image name", text, remedy)]


def _check_host_key(worker: Worker) -> Problem:
    pins = pins_of(worker)
    if pins:
        return Problem(Severity.PASS, "host key", f"Pinned: {', '.join(p.key.fingerprint for p in pins)}.")
    text = "No host key is pinned: the first contact accepts the one that is shown."
    remedy = "Compare the fingerprint that the first contact prints with the machine's own."
    return Problem(Severity.WARN, "host key", text, remedy)


async def _check_root(line: Connection) -> list[Problem]:
    """Return whether other users of the worker can read or change Offload's root there."""
    root = line.layout.root
    done = await line.transport.run(["sh", "-c", _OWNER, "sh", root], check=False)
    said = _LISTED.match(done.stdout.decode(errors="replace"))
    if said is None:
        return [Problem(Severity.PASS, "root", f"{root} is not there yet; the first job makes it.")]
    mode, owner, caller = said.groups()
    if owner not in (caller, "0") and caller != "0":
        text = f"{root} belongs to user {owner}, who can change what runs."
        return [Problem(Severity.FAIL, "root", text, "Use a root of your own: `offload fleet add --root`.")]
    if "w" in mode[4:]:
        text = f"Other users of the worker can write to {root} ({mode})."
        return [Problem(Severity.FAIL, "root", text, "On the worker:", command=f"chmod go-w {root}")]
    if "r" in mode[4:]:
        text = f"Other users of the worker can list {root} ({mode})."
        return [Problem(Severity.WARN, "root", text, "On the worker:", command=f"chmod go-r {root}")]
    return [Problem(Severity.PASS, "root", f"Other users of the worker cannot list or change {root}.")]
