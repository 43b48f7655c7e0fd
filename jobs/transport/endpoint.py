"""Where a machine is, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.errors import NotConfigured

JUMP = re.compile(
    r"(?:(?P<user>[^@]+)@)?"
    r"(?:(?:\[(?P<v6>[^\[\]@]+)\]|(?P<host>[^\[\]@:]+))(?::(?P<port>[0-9]{1,5}))?|(?P<bare>[^\[\]@]*:[^\[\]@]*:[^\[\]@]*))"
)
"""A jump host: `[user@]host[:port]`, with an IPv6 address in brackets, or bare without a port."""


@dataclass(frozen=True)
class LocalEndpoint:
    """This machine."""

    def __str__(self) -> str:
        return "this machine"


@dataclass(frozen=True)
class ProxyWords:
    """What a proxy command says (`pattern`, a regular expression) when a connection does not come about.

    `refused`: the other side answered and refused; else there was no answer. `hint`: what to do next.
    """

    pattern: str
    hint: str
    refused: bool = False


@dataclass(frozen=True)
class SshEndpoint:
    """A machine behind ssh.

    `config_host` is the name looked up in the user's OpenSSH config (ProxyJump, ProxyCommand, IdentityFile
    and so on apply); explicit fields win over it. `known_hosts` is the file of pinned host keys; a host
    that is not in it is pinned at first contact when `pin_new_host` is set, else refused. `proxy_words`:
    what the proxy command's complaints mean, the first that fits.
    """

    config_host: str
    known_hosts: Path
    host: str | None = None
    port: int | None = None
    user: str | None = None
    key: Path | None = None
    jump: str | None = None
    proxy_command: tuple[str, ...] | None = None
    pin_new_host: bool = True
    proxy_words: tuple[ProxyWords, ...] = ()

    def jump_host(self) -> SshEndpoint | None:
        """Return the last jump host, itself behind those before it; None when there is none.

        Raises `NotConfigured` for what is not `[user@]host[:port],...`.
        """
        if not self.jump:
            return None
        *before, last = self.jump.split(",")
        hop = JUMP.fullmatch(last.strip())
        if hop is None:
            raise NotConfigured(
                f"Connecting to {self} failed: {last!r} is not a jump host.",
                hint="Write [user@]host[:port], an IPv6 address in brackets, several with commas between.",
            )
        return replace(
            self,
            config_host=hop["v6"] or hop["host"] or hop["bare"],
            host=None,
            port=int(hop["port"]) if hop["port"] else None,
            user=hop["user"],
            jump=",".join(before) or None,
        )

    def __str__(self) -> str:
        who = f"{self.user}@" if self.user else ""
        return f"{who}{self.host or self.config_host}" + (f":{self.port}" if self.port else "")


Endpoint = LocalEndpoint | SshEndpoint
