"""A machine of your own behind ssh: Offload uses it, and neither makes nor stops it."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.errors import NotConfigured, NotFound, UsageError
from jobs.providers.base import (
    Instance,
    InstanceState,
    Problem,
    Severity,
    WorkerProvider,
)
from jobs.transport.endpoint import Endpoint, SshEndpoint
from jobs.transport.openssh import resolve_host

KNOWN_HOSTS = "known_hosts"


class SshProvider(WorkerProvider):
    """One machine behind ssh.

    Configuration: `name` and `home` (given by the caller), `host` (a name of the user's OpenSSH config, or
    an address; default: `name`), and optionally `user`, `port`, `key` (path of a private key), `jump`
    (`[user@]host[:port]`), `proxy_command` (text or list), `known_hosts`, `pin_new_host` (default true).
    What is not given comes from the OpenSSH config.
    """

    kind = "ssh"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._name = str(config.get("name") or "")
        if not self._name:
            raise NotConfigured("An ssh worker needs a name.")
        self._host = str(config.get("host") or self._name)
        if self._host.startswith("-") or any(sign.isspace() for sign in self._host):
            raise NotConfigured(f"The worker {self._name} has {self._host!r} as host, which is none.")
        self._endpoint = self._read(config)

    def _read(self, config: Mapping[str, Any]) -> SshEndpoint:
        command = config.get("proxy_command")
        home = Path(config.get("home") or Path.home() / ".offload")
        key = config.get("key")
        return SshEndpoint(
            config_host=self._host,
            known_hosts=Path(config.get("known_hosts") or home / KNOWN_HOSTS).expanduser(),
            port=self._port(config.get("port")),
            user=config.get("user") or None,
            key=Path(key).expanduser() if key else None,
            jump=config.get("jump") or None,
            proxy_command=tuple(shlex.split(command) if isinstance(command, str) else command)
            if command
            else None,
            pin_new_host=bool(config.get("pin_new_host", True)),
        )

    def _port(self, value: Any) -> int | None:
        if value in (None, ""):
            return None
        try:
            port = int(value)
        except (TypeError, ValueError):
            port = 0
        if not 0 < port < 65536:
            raise NotConfigured(
                f"The worker {self._name} has {value!r} as port.", hint="A port is 1 to 65535."
            )
        return port

    @property
    def known_hosts(self) -> Path:
        """Return the file of pinned host keys."""
        return self._endpoint.known_hosts

    async def create(self, spec: Mapping[str, Any], name: str) -> None:
        """Accept the machine that is there. Raises `UsageError` for any other."""
        if name != self._name:
            raise UsageError(
                f"Making the machine {name} failed: the ssh provider uses machines and makes none.",
                hint="Add a machine that exists, or use a provider that makes machines.",
            )

    async def get(self, name: str) -> Instance | None:
        """Return the machine. Whether it answers is for the transport to find out."""
        return self._instance() if name == self._name else None

    async def list(self) -> Sequence[Instance]:
        """Return the one machine of this configuration."""
        return [self._instance()]

    def _instance(self) -> Instance:
        return Instance(self._name, InstanceState.RUNNING, f"Reached by ssh at {self._endpoint}.")

    async def start(self, name: str) -> None:
        """Do nothing: the machine is taken to run."""
        if name != self._name:
            raise NotFound(f"Starting {name} failed: this configuration is for {self._name!r}.")

    async def stop(self, name: str) -> None:
        """Refuse: the machine is not ours to stop."""
        self._refuse("Stopping", name)

    async def delete(self, name: str) -> None:
        """Refuse: the machine is not ours to delete."""
        self._refuse("Deleting", name)

    def _refuse(self, doing: str, name: str) -> None:
        if name == self._name:
            raise UsageError(
                f"{doing} {name} failed: Offload did not make this machine, and leaves it as it is.",
                hint="Take it out of Offload's list instead; nothing on it is touched.",
            )

    def endpoint(self, instance: Instance) -> Endpoint:
        """Return where the machine is reached."""
        return self._endpoint

    async def check(self) -> Sequence[Problem]:
        """Look at the key, the agent and the file of pinned host keys. Does not connect."""
        try:
            said = await resolve_host(self._endpoint.config_host) or {}
        except (NotConfigured, TimeoutError):
            said = {}  # connecting names what is wrong with the configuration
        return await asyncio.to_thread(self._check, said.get("identityfile", ()))

    def _check(self, identities: Sequence[str]) -> Sequence[Problem]:
        return [self._check_key(identities), self._check_known_hosts()]

    def _check_key(self, identities: Sequence[str]) -> Problem:
        key = self._endpoint.key
        if key is not None:
            if not os.access(key, os.R_OK):
                return Problem(
                    Severity.FAIL,
                    "ssh key",
                    f"{key} cannot be read.",
                    f"Make the key with `ssh-keygen -f {key}`, or name another one.",
                )
            return Problem(Severity.PASS, "ssh key", f"{key}")
        if os.environ.get("SSH_AUTH_SOCK"):
            return Problem(Severity.PASS, "ssh key", "Keys come from the running ssh agent.")
        found = [name for name in identities if Path(name).expanduser().is_file()]
        if found:
            return Problem(
                Severity.PASS, "ssh key", f"Keys of your OpenSSH configuration: {', '.join(found)}."
            )
        found = sorted(path.name for path in (Path.home() / ".ssh").glob("id_*") if path.suffix != ".pub")
        if found:
            return Problem(Severity.PASS, "ssh key", f"Keys come from ~/.ssh: {', '.join(found)}.")
        return Problem(
            Severity.WARN,
            "ssh key",
            "There is no ssh agent, and no key in ~/.ssh or in your OpenSSH configuration.",
            "Start an agent, make a key with `ssh-keygen`, or name a key for this worker.",
        )

    def _check_known_hosts(self) -> Problem:
        path = self._endpoint.known_hosts
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            return Problem(
                Severity.FAIL,
                "host keys",
                f"{path} cannot be read and written.",
                f"Run `chmod 600 {path}`.",
            )
        return Problem(Severity.PASS, "host keys", f"Pinned in {path}.")
