"""What the user's OpenSSH configuration says of a host, as options of `asyncssh.connect`.

OpenSSH itself reads it (`ssh -G`), so that a host that `ssh` reaches is reached here too: asyncssh knows
fewer keywords, wants every IdentityFile to be a private key, runs a ProxyCommand without a shell, and does
not read `ProxyJump [v6]:port`. It reads the file only where there is no `ssh`, or one that refuses it.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncssh

from jobs.errors import NotConfigured
from jobs.transport.endpoint import SshEndpoint
from jobs.transport.known_hosts import read_revoked
from jobs.transport.openssh import USER_CONFIG, resolve_host

_COPIED = ("hostname", "port", "user", "addressfamily", "bindaddress", "hostkeyalias")
_ALGORITHMS = ("kexalgorithms", "macs", "hostkeyalgorithms")
_UNKNOWN_MATCH = re.compile(r"line (\d+): (?:Invalid match condition|Local network match)")


@dataclass(frozen=True)
class HostOptions:
    """What the configuration says of one host.

    `config`: lines that asyncssh reads. `keys`: options that say which keys to offer. `known_hosts`: files of
    the user and the system. `jump`: the last jump host, itself behind those before it. `proxy_command`: argv
    of a program that carries the connection. `revoked`: keys that no host may have.
    """

    config: str
    keys: Mapping[str, Any]
    known_hosts: tuple[Path, ...]
    jump: SshEndpoint | None = None
    proxy_command: tuple[str, ...] | None = None
    revoked: Sequence[asyncssh.SSHKey] = ()


async def host_options(endpoint: SshEndpoint) -> HostOptions | None:
    """Return what OpenSSH makes of the user's configuration; None when there is no `ssh`, or it refuses.

    Raises `NotConfigured` for a jump host that is reached through itself, `ProxyUseFdpass`, and a file of
    revoked keys that cannot be read.
    """
    words = [*(["-p", str(endpoint.port)] if endpoint.port else [])]
    words += ["-l", endpoint.user] if endpoint.user else []
    # ssh prints this path expanded, and so the hash whose making differs between its versions.
    words += ["-o", "ControlPath=%C"]
    host = endpoint.config_host
    try:
        said, usual = await asyncio.gather(resolve_host(host, words), resolve_host(host, ["-F", "none"]))
    except (NotConfigured, TimeoutError) as error:
        if "jumphost loop" in str(error):  # asyncssh would follow it
            raise
        return None
    if said is None or usual is None:
        return None
    return await asyncio.to_thread(_options, endpoint, said, usual)


def _options(
    endpoint: SshEndpoint, said: Mapping[str, list[str]], usual: Mapping[str, list[str]]
) -> HostOptions:
    tokens = _tokens(endpoint, said)
    lines = [(name, _expanded(value, tokens)) for name in _COPIED for value in said.get(name, ())[:1]]
    # ssh prints complete lists; asyncssh chooses by itself where they are unchanged.
    lines += [
        (name, said[name][0]) for name in _ALGORITHMS if said.get(name, usual.get(name)) != usual.get(name)
    ]
    jump = proxy = None
    if (hops := said.get("proxyjump", ["none"])[0]) != "none":
        jump = replace(endpoint, key=None, jump=hops, proxy_command=None, proxy_words=()).jump_host()
    elif (command := said.get("proxycommand", ["none"])[0]) != "none":
        if said.get("proxyusefdpass") == ["yes"]:
            raise NotConfigured(
                f"Connecting to {endpoint} failed: its ProxyCommand passes a socket (ProxyUseFdpass), "
                "which Offload cannot take.",
                hint="Use a ProxyCommand that carries the data itself, as `nc %h %p` does.",
            )
        command = _expanded(command, tokens)
        line = command if command.startswith("exec") else f"exec {command}"
        proxy = (os.environ.get("SHELL") or "/bin/sh", "-c", line)
    known = [
        Path(_path(name, tokens))
        for keyword in ("userknownhostsfile", "globalknownhostsfile")
        for name in _names(said.get(keyword, [""])[0], tokens)
    ]
    gone = said.get("revokedhostkeys", ["none"])[0]
    revoked = read_revoked(Path(_path(gone, tokens))) if gone != "none" else []
    text = "".join(f"{name} {value}\n" for name, value in lines)
    return HostOptions(text, _keys(said, tokens), tuple(known), jump, proxy, revoked)


def _names(value: str, tokens: Mapping[str, str]) -> Iterator[str]:
    """Yield the file names of a list; `ssh -G` does not say where a name with spaces ends."""
    words = value.split()
    while words:
        found = (
            count
            for count in range(len(words), 1, -1)
            if Path(_path(" ".join(words[:count]), tokens)).is_file()
        )
        count = next(found, 1)
        yield " ".join(words[:count])
        words = words[count:]


def _tokens(endpoint: SshEndpoint, said: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the values of ssh_config's tokens (`%h` and so on)."""
    name = socket.gethostname()
    host = said["hostname"][0]
    return {
        "%": "%",
        "C": said.get("controlpath", ["%C"])[0],
        "d": str(Path.home()),
        "h": host,
        "i": str(os.getuid()),
        "j": said.get("proxyjump", [""])[0],
        "k": said.get("hostkeyalias", [endpoint.config_host])[0],
        "L": name.partition(".")[0],
        "l": name,
        "n": endpoint.config_host,
        "p": said["port"][0],
        "r": said["user"][0],
        "u": getpass.getuser(),
    }


def _expanded(value: str, tokens: Mapping[str, str]) -> str:
    return re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), value)


def _path(value: str, tokens: Mapping[str, str]) -> str:
    text = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), _expanded(value, tokens))
    return os.path.expanduser(text)


def _keys(said: Mapping[str, list[str]], tokens: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that say which keys to offer: files that are there and are keys, and the agent's."""
    files = [_path(value, tokens) for value in said.get("identityfile", ())]
    certificates = [_path(value, tokens) for value in said.get("certificatefile", ())]
    keys: dict[str, Any] = {
        "client_keys": [path for path in files if _is_private_key(path)],
        "client_certs": [path for path in certificates if _is_certificate(path)],
        "ignore_encrypted": True,
    }
    agent = said.get("identityagent", ["SSH_AUTH_SOCK"])[0]
    if agent == "none":
        keys["agent_path"] = None
    elif agent.startswith("$"):
        keys["agent_path"] = os.environ.get(agent.strip("${}"))
    elif agent != "SSH_AUTH_SOCK":
        keys["agent_path"] = _path(agent, tokens)
    if said.get("identitiesonly") == ["yes"]:
        keys["agent_identities"] = [
            public for path in files for public in (f"{path}.pub", path) if _is_public_key(public)
        ]
    return keys


def _is_private_key(path: str) -> bool:
    try:
        asyncssh.read_private_key(path)
    except asyncssh.KeyImportError as error:
        return str(error).startswith("Passphrase")
    except (OSError, asyncssh.KeyEncryptionError):
        return False
    return True


def _is_certificate(path: str) -> bool:
    try:
        asyncssh.read_certificate(path)
    except (OSError, ValueError, asyncssh.KeyImportError):
        return False
    return True


def _is_public_key(path: str) -> bool:
    try:
        asyncssh.read_public_key(path)
    except (OSError, asyncssh.KeyImportError):
        return False
    return True


def user_config() -> list[str] | None:
    """Return the user's configuration as asyncssh is given it; None when there is none."""
    config = USER_CONFIG.expanduser()
    return [str(config)] if config.is_file() else None


def without_unknown_blocks(path: str, error: Exception) -> str | None:
    """Return a configuration without the `Match` blocks that asyncssh cannot read; None if there are none.

    `error`: what asyncssh said of it.
    """
    lines = Path(path).read_text().splitlines()
    changed = False
    while isinstance(error, asyncssh.ConfigParseError) and (found := _UNKNOWN_MATCH.search(str(error))):
        lines[int(found[1]) - 1] = "Match !all"
        changed = True
        with tempfile.NamedTemporaryFile("w", prefix="offload-ssh-") as file:
            file.write("\n".join(lines))
            file.flush()
            try:
                asyncssh.SSHClientConnectionOptions(config=[file.name], host="host", client_keys=None)
                break
            except (asyncssh.ConfigParseError, OSError) as another:
                error = another
    return "\n".join([*lines, ""]) if changed else None
