"""The way in without Offload: an OpenSSH configuration with a name for each ssh worker.

It is a file of ours that `~/.ssh/config` includes. What the user's own configuration says of a host (its
address, jump hosts, keys) is asked of `ssh -G` and written out, so that the file stands by itself.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from jobs.errors import NotConfigured, OffloadError, UsageError
from jobs.models import Worker
from jobs.providers import registry
from jobs.providers.base import Instance, InstanceState
from jobs.transport.endpoint import SshEndpoint
from jobs.transport.host_keys import SSH_PORT, host_name
from jobs.transport.openssh import resolve_host
from jobs.workers.connection import provider_of
from jobs.workers.ownership import machine_of

FIRST_ALIAS = "gcli-worker"
ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NOTE = "# Written by `manage.py fleet ssh-config`. What is changed here by hand is lost."
_NONE = ("", "none")
_STRICT = (
    "  GlobalKnownHostsFile none",
    "  StrictHostKeyChecking yes",
    "  CheckHostIP no",
    "  ForwardAgent no",
)


def config_path() -> Path:
    """Return our file."""
    return Path(settings.OFFLOAD.home) / "ssh_config"


def include_line() -> str:
    """Return the line that `~/.ssh/config` needs."""
    return f"Include {_quoted(str(config_path()))}"


def choose_aliases(workers: Sequence[Worker]) -> dict[str, str]:
    """Return a name for each worker: its own, else `gcli-worker` for the first, `gcli-NAME` for others."""
    chosen = {worker.name: str(worker.config["alias"]) for worker in workers if worker.config.get("alias")}
    for worker in workers:
        if worker.name not in chosen:
            free = FIRST_ALIAS not in chosen.values()
            chosen[worker.name] = FIRST_ALIAS if free else f"gcli-{worker.name}"
    return chosen


def check_alias(alias: str, worker: Worker, others: Sequence[Worker]) -> None:
    """Refuse a name that ssh would not take, or that another worker has. Raises `UsageError`."""
    if not ALIAS.fullmatch(alias):
        raise UsageError(f"{alias!r} is no name for a host.", hint="Use letters, digits, dots and dashes.")
    for other in others:
        if other.name != worker.name and other.config.get("alias") == alias:
            raise UsageError(f"{other.name} has the name {alias!r} already.", hint="Choose another.")


async def render(workers: Sequence[Worker], aliases: Mapping[str, str]) -> str:
    """Return the file's text. Raises `NotConfigured` for what OpenSSH cannot be told."""
    parts = [_NOTE]
    for worker in workers:
        config = worker.config
        if registry.is_cloud(worker.provider):
            parts += [f"# the worker {worker.name}", await _cloud_block(aliases[worker.name], worker)]
            continue
        host = str(config.get("host") or worker.name)
        words = [
            *(["-p", str(config["port"])] if config.get("port") else []),
            *(["-l", str(config["user"])] if config.get("user") else []),
            *(["-i", str(config["key"])] if config.get("key") else []),
        ]
        command = config.get("proxy_command")
        if command:
            joined = command if isinstance(command, str) else shlex.join(command)
            words += ["-o", f"ProxyCommand={joined}"]
        blocks: list[str] = []
        known_hosts = str(getattr(provider_of(worker), "known_hosts", ""))
        jumps = str(config.get("jump") or "")
        await _block(aliases[worker.name], host, words, jumps, config.get("key"), known_hosts, blocks)
        parts += [f"# the worker {worker.name}", *blocks]
    return "\n".join(parts) + "\n"


async def _cloud_block(alias: str, worker: Worker) -> str:
    """Return the block of a machine that a provider made, as it is reached now; a comment without one."""
    try:
        instance = await machine_of(worker, provider_of(worker))
    except OffloadError as error:
        return f"# {' '.join(error.message.split())}"
    endpoint = _endpoint_of(worker, instance) if instance is not None else None
    if endpoint is None:
        return "# It has no machine now."
    name = host_name(endpoint.config_host, endpoint.port or SSH_PORT)
    lines = [
        f"Host {alias}",
        f"  HostName {endpoint.host or worker.name}",
        f"  Port {endpoint.port or SSH_PORT}",
        *([f"  User {endpoint.user}"] if endpoint.user else []),
        f"  HostKeyAlias {name}",
        f"  UserKnownHostsFile {_quoted(str(endpoint.known_hosts))}",
        *_STRICT,
        *([f"  IdentityFile {_quoted(str(endpoint.key))}", "  IdentitiesOnly yes"] if endpoint.key else []),
        *([f"  ProxyCommand {_carried_by(endpoint)}"] if endpoint.proxy_command else []),
    ]
    return "\n".join(lines)


def _endpoint_of(worker: Worker, instance: Instance) -> SshEndpoint | None:
    """Return where a machine is reached: by the way that answered last, else the first."""
    ways = provider_of(worker).ways(instance)
    found = ways.get(str(worker.facts.get("way") or "")) or next(iter(ways.values()))
    return found if isinstance(found, SshEndpoint) else None


def _carried_by(endpoint: SshEndpoint) -> str:
    return shlex.join(endpoint.proxy_command or ()).replace("%", "%%")


async def _block(
    alias: str, host: str, words: Sequence[str], jumps: str, key: Any, known_hosts: str, blocks: list[str]
) -> None:
    """Add the block of a host, after those of the hosts that it is reached through."""
    said = await _resolve(host, words)
    port = int(said.get("port") or SSH_PORT)
    lines = [
        f"Host {alias}",
        f"  HostName {said.get('hostname') or host}",
        f"  Port {port}",
        *([f"  User {said['user']}"] if said.get("user") else []),
        f"  HostKeyAlias {host_name(host, port)}",
        f"  UserKnownHostsFile {_quoted(known_hosts)}",
        *_STRICT,
    ]
    if key:
        lines += [f"  IdentityFile {_quoted(str(key))}", "  IdentitiesOnly yes"]
    else:
        files = [name for name in said.get("identityfile", "").split("\n") if name]
        lines += [f"  IdentityFile {_quoted(name)}" for name in await asyncio.to_thread(_there, files)]
    jumps = jumps or ("" if said.get("proxyjump", "none") in _NONE else said["proxyjump"])
    before = SshEndpoint(host, Path(known_hosts), jump=jumps).jump_host()
    if before is not None:
        through = f"{alias}.jump{len(jumps.split(','))}"
        hop = [
            *(["-p", str(before.port)] if before.port else []),
            *(["-l", before.user] if before.user else []),
        ]
        hop += ["-i", str(key)] if key else []
        await _block(through, before.config_host, hop, before.jump or "", key, known_hosts, blocks)
        lines.append(f"  ProxyJump {through}")
    elif said.get("proxycommand", "none") not in _NONE:
        lines.append(f"  ProxyCommand {said['proxycommand']}")
    blocks.append("\n".join(lines))


def _there(files: Sequence[str]) -> list[str]:
    return [name for name in files if Path(name).expanduser().exists()]


async def _resolve(host: str, words: Sequence[str]) -> dict[str, str]:
    """Return what the user's OpenSSH configuration says of a host; what was given without OpenSSH."""
    values = await resolve_host(host, words)
    if values is None:
        return _given(host, words)
    return {keyword: "\n".join(found) for keyword, found in values.items()}


def _given(host: str, words: Sequence[str]) -> dict[str, str]:
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    command = pairs.get("-o", "").removeprefix("ProxyCommand=")
    return {
        "hostname": host,
        "port": pairs.get("-p", ""),
        "user": pairs.get("-l", ""),
        "proxycommand": command or "none",
    }


def _quoted(path: str) -> str:
    if '"' in path or "\n" in path or "\\" in path:
        raise NotConfigured(f"OpenSSH's configuration cannot name the path {path!r}.", hint="Move the file.")
    return '"' + path.replace("%", "%%") + '"'


def write(text: str) -> Path:
    """Write our file (0600) and return its path."""
    path = config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_atomically(path, text, 0o600)
    return path


def user_config() -> Path:
    """Return the user's own configuration."""
    return Path.home() / ".ssh" / "config"


def is_included() -> bool:
    """Tell whether the user's configuration includes our file."""
    try:
        return include_line() in [line.strip() for line in user_config().read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return False


def include() -> bool:
    """Add our one line to the user's configuration, at its top; return whether it was missing."""
    if is_included():
        return False
    path = user_config().resolve()  # it may be a link into somebody's dotfiles
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        text, mode = path.read_text(), path.stat().st_mode & 0o777
    except FileNotFoundError:
        text, mode = "", 0o600
    # At the top: below a `Host` line it would count for that host only.
    _write_atomically(path, f"{include_line()}\n{text}", mode)
    return True


def _write_atomically(path: Path, text: str, mode: int) -> None:
    handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def words_for_ssh(worker: Worker) -> str | None:
    """Return what follows `ssh` to reach a worker by hand, quoted for a shell; None for this machine."""
    config = worker.config
    if worker.provider == "local":
        return None
    if config.get("alias"):
        where = [] if is_included() else ["-F", str(config_path())]
        return shlex.join([*where, str(config["alias"])])
    if registry.is_cloud(worker.provider):
        return _words_for_cloud(worker)
    host = str(config.get("host") or worker.name)
    words = [
        *(["-p", str(config["port"])] if config.get("port") else []),
        *(["-i", str(config["key"])] if config.get("key") else []),
        *(["-J", str(config["jump"])] if config.get("jump") else []),
        f"{config['user']}@{host}" if config.get("user") else host,
    ]
    return shlex.join(words)


def _words_for_cloud(worker: Worker) -> str:
    """Return the words for a machine that a provider made, as far as they are known without asking."""
    try:
        endpoint = _endpoint_of(worker, Instance(worker.name, InstanceState.RUNNING))
    except OffloadError:
        endpoint = None
    if endpoint is None:
        return shlex.join([worker.name])
    host = endpoint.host or worker.name
    words = [
        *(["-p", str(endpoint.port)] if endpoint.port else []),
        *(["-i", str(endpoint.key)] if endpoint.key else []),
        *(["-o", f"ProxyCommand={_carried_by(endpoint)}"] if endpoint.proxy_command else []),
        f"{endpoint.user}@{host}" if endpoint.user else host,
    ]
    return shlex.join(words)
